"""What a person types when a model is missing or broken; whoever finds that out does not know on which side it runs."""


def install_command(name: str) -> str:
    return f"`covey-edge model install {name}` (at a hub: `covey-hub model install {name}`)"
