"""The signs of text that imitates instructions or tool calls, each with its weight. Data; see `imitation.py`.

The phrases are of English, German, French and Spanish, without accents, for text that is folded and read without regard
to case. Every repetition is bounded, so that no text makes them slow. A pattern that begins with `(?m` is for lines.
"""

from typing import Final

SIGNS: Final[tuple[tuple[str, float, str], ...]] = (
    (
        "chat_template",
        0.9,
        (
            r"<\|(?:im_start|im_end|im_sep|system|user|assistant|endoftext|eot_id|start_header_id|"
            r"end_header_id|begin_of_text|eom_id|python_tag|tool_call|tool_response|end|channel|start|"
            r"message)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<｜[^｜\n]{1,32}｜>|\[/?(?:TOOL_CALLS|"
            r"AVAILABLE_TOOLS|TOOL_RESULTS)\]"
        ),
    ),
    (
        "tool_call_tag",
        0.8,
        (
            r"</?(?:tool_call|function_call|tool_calls|function_calls|tool_response|antml:invoke|invoke "
            r"name|tool_use|tool_result)\b[^>\n]{0,80}>"
        ),
    ),
    (
        "action_json",
        0.75,
        (
            r"\{\s{0,8}[\"']action[\"']\s{0,4}:\s{0,4}[\"'][^\"'\n]{1,64}[\"']\s{0,4},\s{0,8}[\"'](?:arguments|"
            r"args|parameters|input|action_input)[\"']\s{0,4}:"
        ),
    ),
    (
        "function_json",
        0.7,
        (
            r"[\"'](?:tool_calls|function_call)[\"']\s{0,4}:\s{0,4}[\[{]|\{\s{0,8}[\"'](?:name|tool|"
            r"function)[\"']\s{0,4}:\s{0,4}[\"'][\w.-]{1,64}[\"']\s{0,4},\s{0,8}[\"'](?:arguments|"
            r"parameters|args)[\"']\s{0,4}:"
        ),
    ),
    (
        "section",
        0.55,
        (
            r"(?m:^[ \t]{0,3}\#{2,4}[ \t]{0,2}(?:system|instructions?|assistant|new instructions?|human|"
            r"user prompt|system prompt)[ \t]{0,2}:?[ \t]{0,2}$)"
        ),
    ),
    (
        "role",
        0.35,
        (
            r"(?m:^[ \t]{0,3}(?:system|assistant|developer|human)[ \t]{0,2}(?:message|prompt)?[ "
            r"\t]{0,2}:(?!\S))"
        ),
    ),
    (
        "ignore",
        0.8,
        (
            r"\b(?:ignore|disregard|forget|override|bypass|neglect)\b(?: (?:previous|prior|above|earlier|"
            r"preceding|existing|original|system|initial|all|any|your|the|of|my|and|other|these|"
            r"those)){1,5} (?:instructions?|prompts?|rules?|directives?|guidelines?|commands?|"
            r"constraints?|restrictions?|context|messages?)\b"
        ),
    ),
    (
        "ignore",
        0.75,
        (
            r"\b(?:ignore|disregard|forget) (?:everything|anything|all that)(?: (?:you|that|i|we|was|were|"
            r"have|has|been)){0,4} (?:told|said|above|before|instructed|asked|learned)\b"
        ),
    ),
    (
        "ignoriere",
        0.8,
        (
            r"\b(?:ignoriere?n?|vergiss|vergessen sie|missachten?|beachten? (?:sie )?nicht)(?: (?:sie|"
            r"alle|die|deine|ihre|vorherigen?|bisherigen?|vorigen?|obigen?|fruheren?|vorangegangenen?|"
            r"samtliche)){0,5} (?:anweisung(?:en)?|instruktion(?:en)?|regeln?|vorgaben?|befehle?|"
            r"anordnungen)\b"
        ),
    ),
    (
        "ignorez",
        0.8,
        (
            r"\b(?:ignore[zr]?|oublie[zr]?|ne tene?z? (?:pas|aucun) compte)(?: (?:de|des|toutes?|tous|les|"
            r"tes|vos|ces|precedentes?|anterieures?)){0,5} (?:instructions?|consignes?|regles?|"
            r"directives?|ordres?)\b"
        ),
    ),
    (
        "ignora",
        0.8,
        (
            r"\b(?:ignora|ignore|ignorar|olvida|olvide|omite|no hagas caso (?:de|a))(?: (?:de|todas?|"
            r"todos|las|los|tus|sus|anteriores|previas)){0,5} (?:instrucciones|ordenes|reglas|"
            r"indicaciones|directrices)\b"
        ),
    ),
    (
        "new_instructions",
        0.5,
        (
            r"\b(?:your )?(?:new|real|actual|updated|true) (?:instructions?|task|objective|goal|"
            r"directive)s? (?:is|are|follows?|:)|\bneue (?:anweisung(?:en)?|aufgabe) ?:|\bnouvelles? "
            r"(?:instructions?|consignes?) ?:|\bnuevas? instrucci(?:on|ones) ?:"
        ),
    ),
    (
        "you_are_now",
        0.5,
        (
            r"\byou are (?:now|no longer) (?:a|an|in|the|bound|allowed|dan|free|my)\b|\bfrom now on,? you "
            r"(?:are|will|must)\b|\bab (?:jetzt|sofort) (?:bist|sind|musst|mussen) (?:du|sie)\b|"
            r"\bdesormais,? (?:tu|vous)\b|\ba partir de ahora,? (?:eres|debes|seras)\b"
        ),
    ),
    (
        "you_must_now",
        0.5,
        (
            r"\byou (?:must|should|will|shall|need to|have to) (?:now|immediately|instead|first) (?:\w+ "
            r"){0,2}?(?:send|forward|transfer|call|execute|run|delete|reply|respond|say|ignore|use|visit|"
            r"open|upload|email|post|reveal|output|print|do|write|obey|follow)\b|\b(?:du musst|sie "
            r"mussen) (?:jetzt|nun|sofort)\b|\b(?:tu dois|vous devez) (?:maintenant|immediatement)\b|"
            r"\b(?:debes|tienes que) (?:ahora|inmediatamente)\b"
        ),
    ),
    (
        "secrecy",
        0.65,
        (
            r"\b(?:do not|don'?t|never|without) (?:tell|telling|inform(?:ing)?|notify(?:ing)?|"
            r"mention(?:ing)?|alert(?:ing)?|reveal(?:ing)?)(?: (?:this|it|anything|about|to)){0,3} (?:the "
            r")?(?:user|human|operator|owner|person)\b|\b(?:sag|sage|sagen sie|erzahle?|verrate?)(?: "
            r"(?:es|dem|das|davon)){1,3} (?:benutzer|nutzer|anwender)(?: \w+){0,3} nicht|\bne (?:dis|"
            r"dites|parle|informe[zr]?|previens)(?: \w+){0,2} (?:a )?l'?utilisateur|\bno (?:le )?(?:digas|"
            r"diga|informes|menciones|cuentes)(?: \w+){0,2} (?:al )?usuario\b"
        ),
    ),
    (
        "secret_request",
        0.6,
        (
            r"\b(?:reveal|print|output|show|repeat|leak|disclose|send|exfiltrate)(?: (?:me|us|your|the|"
            r"all|any|full|entire|of|complete|hidden|secret)){0,4} (?:system prompt|api keys?|"
            r"credentials?|passwords?|private keys?|hidden instructions|secret keys?)\b"
        ),
    ),
    (
        "request",
        0.45,
        (
            r"\b(?:send|forward|email|e-mail|upload|post|transfer|exfiltrate|leak|deliver)(?: (?:me|us|"
            r"all|any|the|this|these|their|your|his|her|its|every|of|entire|full|complete|latest|user'?s?|"
            r"customer|private|secret)){0,6}(?: [\w'-]{1,24}){0,4} to (?:https?://\S|[\w.+-]{1,64}@\w|the "
            r"(?:following|address|account)|this (?:address|account|url|iban|number)|(?:account|iban|"
            r"wallet) )|\b(?:transfer|wire|pay|uberweise|uberweisen sie|vire[zr]?|transfiere|transfiera) "
            r"[\w$.,€ ]{1,32} (?:to|auf|an|vers|sur|a) (?:account|iban|wallet|konto|das konto|le compte|"
            r"la cuenta|cuenta|compte)\b|\b(?:sende|schicke?|leite|senden sie|schicken sie)(?: "
            r"[\w'-]{1,24}){1,6} an [\w.+-]{1,64}@\w|\b(?:envoie|envoyez|transmets|transferez)(?: "
            r"[\w'-]{1,24}){1,6} a [\w.+-]{1,64}@\w|\b(?:envia|enviar|envie|reenvia|manda)(?: "
            r"[\w'-]{1,24}){1,6} a [\w.+-]{1,64}@\w"
        ),
    ),
    (
        "addressed",
        0.3,
        (
            r"\b(?:attention|hey|dear|note to(?: the)?|important,?|message (?:for|to)(?: the)?|"
            r"instructions? (?:for|to)(?: the)?) (?:ai |the )?(?:assistant|agent|ai|model|llm|chatbot|bot|"
            r"language model)s?\b|\bas an? (?:ai|language model|assistant),? you\b|\bif you are an? (?:ai|"
            r"(?:assistant|agent|ai|model|llm|chatbot|bot|language model)|llm)\b|\b(?:achtung|an den|"
            r"hinweis an(?: den)?),? (?:ki|assistent(?:en)?|agent(?:en)?)\b"
        ),
    ),
    (
        "action_line",
        0.35,
        (r"(?m:^[ \t]{0,3}(?:Action Input|Action|Tool|Function call|Thought)[ \t]{0,2}: ?\S)"),
    ),
)
"""Name, weight in [0, 1], pattern. One name may stand several times; it counts once."""
