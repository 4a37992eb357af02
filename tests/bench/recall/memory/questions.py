"""Pairs of questions for the semantic cache: the same one in other words, and near-misses that have another answer.

None of them is among those by which `shared.memory.sameness` was written and tested. A near-miss differs in as little
as makes another answer: a figure, a unit, a name, a date, a negation, a direction, who does what to whom.
"""

import itertools
import random
from dataclasses import dataclass
from typing import Final

from tests.bench.recall.memory.worlds import FIRST_NAMES

NEAR_MISSES: Final = 500


@dataclass(frozen=True, slots=True)
class Pair:
    one: str
    other: str
    sort: str


def near_misses(seed: int, count: int = NEAR_MISSES) -> list[Pair]:
    """No pair twice; the sorts in turn."""
    rng = random.Random(f"near-misses/{seed}")
    templates = {sort: _templates(text) for sort, text in _NEAR_MISSES.items()}
    found: dict[tuple[str, str], Pair] = {}
    for sort in itertools.cycle(templates):
        if len(found) >= count:
            break
        one, other = rng.choice(templates[sort])
        fill = _filling(rng)
        pair = Pair(one.format(**fill), other.format(**fill), sort)
        if pair.one != pair.other:
            found.setdefault((pair.one, pair.other), pair)
    return list(found.values())


def paraphrases() -> list[Pair]:
    return [Pair(one, other, "paraphrase") for one, other in _templates(_PARAPHRASES)]


def _filling(rng: random.Random) -> dict[str, str]:
    number, names = rng.randrange(2, 90), rng.sample(FIRST_NAMES, 2)
    days = rng.sample(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), 2)
    months = rng.sample(("January", "February", "March", "April", "June", "July", "October", "December"), 2)
    things = rng.sample(
        ("ventilator", "conveyor", "dishwasher", "scanner", "autoclave", "chiller", "generator", "sprinkler", "winch",
         "centrifuge", "dryer", "press"), 2
    )  # fmt: skip
    places = rng.sample(
        ("the basement", "the annex", "the north wing", "the loading dock", "the laboratory", "the canteen", "the roof",
         "the reception"), 2
    )  # fmt: skip
    code = f"{rng.choice('BDFGHJ')}{rng.choice('KLMNPQ')}"
    digits = rng.randrange(1_000, 9_999)
    return {
        "n": str(number), "m": str(number + rng.choice((1, 2, 10, 100))), "tenth": f"{number / 10:.1f}",
        "year": str(rng.randrange(2015, 2020)), "later": str(rng.randrange(2020, 2026)),
        "name": names[0], "rival": names[1], "day": days[0], "morrow": days[1], "month": months[0], "moon": months[1],
        "thing": things[0], "device": things[1], "place": places[0], "spot": places[1],
        "part": f"{code}-{digits}", "piece": f"{code}-{digits + rng.choice((1, 10, 100))}",
        "turned": f"{code}-{int(str(digits)[::-1])}", "letter": rng.choice("CDEF"), "mark": rng.choice("GHJK"),
    }  # fmt: skip


def _templates(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.strip().splitlines():
        one, _, other = line.partition("|")
        found.append((one.strip(), other.strip()))
    return found


_NEAR_MISSES: Final = {
    "number": """
        What should I do when the {thing} shows error {n}? | What should I do when the {thing} shows error {m}?
        How many spare belts are there for {thing} {n}? | How many spare belts are there for {thing} {m}?
        Who serviced the {thing} in unit {n}? | Who serviced the {thing} in unit {m}?
        Is {n} rpm fine for the {thing}? | Is {m} rpm fine for the {thing}?
        Does the {thing} tolerate {tenth} bar? | Does the {thing} tolerate {n} bar?
    """,
    "unit": """
        Can the {thing} carry {n} kg? | Can the {thing} carry {n} g?
        May the {thing} run {n} minutes without a break? | May the {thing} run {n} hours without a break?
        Is {n} ml of detergent enough for the {thing}? | Is {n} l of detergent enough for the {thing}?
        Does the {thing} draw {n} kW? | Does the {thing} draw {n} W?
        Does the {thing} switch off at {n} °C? | Does the {thing} switch off at {n} °F?
    """,
    "sign": """
        Is {n} degrees okay in {place}? | Is -{n} degrees okay in {place}?
        What happens to the {thing} at {n} °C? | What happens to the {thing} at minus {n} °C?
        How much is {n} plus {m}? | How much is {n} minus {m}?
    """,
    "name": """
        When is {name}'s day off? | When is {rival}'s day off?
        What did {name} say about the {thing}? | What did {rival} say about the {thing}?
        Is the {thing} assigned to {name}? | Is the {thing} assigned to {rival}?
        Which locker belongs to {name}? | Which locker belongs to {rival}?
        Does {name} have the badge for {place}? | Does {rival} have the badge for {place}?
    """,
    "part": """
        Where do I order {part}? | Where do I order {piece}?
        Does {part} fit the {thing}? | Does {turned} fit the {thing}?
        What replaced {part}? | What replaced {piece}?
        How many of {part} are left? | How many of {piece} are left?
        Which {thing} needs {part}? | Which {thing} needs {part}{letter}?
    """,
    "date": """
        Who covered the late shift on {n} {month}? | Who covered the late shift on {n} {moon}?
        What was delivered on {day}? | What was delivered on {morrow}?
        Did the {thing} fail in {month}? | Did the {thing} fail in {moon}?
        How much power did the {thing} use in {year}? | How much power did the {thing} use in {later}?
        Is there training in the first week of {month}? | Is there training in the last week of {month}?
    """,
    "time": """
        Is somebody in {place} at 7 am? | Is somebody in {place} at 7 pm?
        Does the {thing} start at 06:15? | Does the {thing} start at 06:50?
        Which alarms came between 8 and 9? | Which alarms came between 9 and 10?
        What did the {thing} do this morning? | What did the {thing} do this evening?
        Who used the {thing} last week? | Who used the {thing} last month?
    """,
    "negation": """
        Which keys open {place}? | Which keys do not open {place}?
        Is the {thing} covered by the warranty? | Is the {thing} not covered by the warranty?
        Why did the {thing} stop? | Why did the {thing} not stop?
        Can the {thing} run with the cover off? | Can't the {thing} run with the cover off?
        Who is trained on the {thing}? | Who is untrained on the {thing}?
    """,
    "without": """
        How do I run the {thing} with the guard? | How do I run the {thing} without the guard?
        Who has access to {place}? | Who has no access to {place}?
        Are all floors cleaned including {place}? | Are all floors cleaned except {place}?
        Is the {thing} ever left unattended? | Is the {thing} never left unattended?
    """,
    "opposite": """
        How do I raise the {thing}? | How do I lower the {thing}?
        How do I switch on the {thing}? | How do I switch off the {thing}?
        Is the {thing} in {place} locked? | Is the {thing} in {place} unlocked?
        What is the upper limit of the {thing}? | What is the lower limit of the {thing}?
        How do I attach the hose to the {thing}? | How do I detach the hose from the {thing}?
        How do I tighten the {thing}? | How do I loosen the {thing}?
        When was the {thing} turned up? | When was the {thing} turned down?
    """,
    "side": """
        What is left of the {thing}? | What is right of the {thing}?
        What stands in front of the {thing}? | What stands behind the {thing}?
        Which pipe enters the {thing}? | Which pipe leaves the {thing}?
        Is the fuse above the {thing}? | Is the fuse below the {thing}?
        Where is the inlet of the {thing}? | Where is the outlet of the {thing}?
    """,
    "order": """
        What comes before rinsing the {thing}? | What comes after rinsing the {thing}?
        Do I heat the {thing} before I fill it? | Do I fill the {thing} before I heat it?
        Who arrived first at {place}? | Who arrived last at {place}?
        What is the first step with the {thing}? | What is the last step with the {thing}?
    """,
    "question word": """
        Who moved the {thing}? | When was the {thing} moved?
        Why was the {thing} moved to {place}? | When was the {thing} moved to {place}?
        How long does the {thing} run? | How often does the {thing} run?
        Where does {name} work? | When does {name} work?
        How many people use the {thing}? | Which people use the {thing}?
    """,
    "degree": """
        Is the {thing} louder than the {device}? | Is the {device} louder than the {thing}?
        Is the {thing} heavier than the {device}? | Is the {thing} lighter than the {device}?
        What is the cheapest {thing}? | What is the dearest {thing}?
        Which {thing} needs more water? | Which {thing} needs less water?
        Who has worked here the longest? | Who has worked here the shortest?
    """,
    "quantity": """
        Do all staff use the {thing}? | Do any staff use the {thing}?
        Is the {thing} only for {name}? | Is the {thing} also for {name}?
        Are both doors of {place} alarmed? | Is either door of {place} alarmed?
        Do at least {n} people have a key? | Do at most {n} people have a key?
        Does each {thing} have a log? | Does one {thing} have a log?
    """,
    "duty": """
        Must visitors sign in at {place}? | May visitors sign in at {place}?
        Do I have to report when the {thing} is empty? | Am I allowed to report when the {thing} is empty?
        Should the {thing} be oiled every month? | Can the {thing} be oiled every month?
        Do we need a permit for {place}? | Do we have a permit for {place}?
        Must nobody enter {place}? | Need nobody enter {place}?
    """,
    "roles": """
        Does {name} report to {rival}? | Does {rival} report to {name}?
        Did {name} lend the {thing} to {rival}? | Did {rival} lend the {thing} to {name}?
        Which trolley goes from {place} to {spot}? | Which trolley goes from {spot} to {place}?
        Does the {thing} feed the {device}? | Does the {device} feed the {thing}?
        Who relieved {name}? | Whom did {name} relieve?
        Who taught {name} the {thing}? | Whom did {name} teach the {thing}?
    """,
    "tense": """
        Who is in charge of {place}? | Who was in charge of {place}?
        What does the {thing} cost? | What did the {thing} cost?
        Is the {thing} rented? | Was the {thing} rented?
        Does {name} drive the van? | Will {name} drive the van?
        Has the {thing} been inspected? | Is the {thing} being inspected?
    """,
    "object": """
        How do I descale the {thing}? | How do I descale the {device}?
        What is kept in {place}? | What is kept in {spot}?
        Where is the manual of the {thing}? | Where is the invoice of the {thing}?
        Who painted the door of {place}? | Who painted the floor of {place}?
        What colour is the lid of the {thing}? | What colour is the handle of the {thing}?
    """,
    "action": """
        How do I test the {thing}? | How do I move the {thing}?
        Who ordered the {thing}? | Who sold the {thing}?
        How do I reset the counter of the {thing}? | How do I read the counter of the {thing}?
        When do we clean {place}? | When do we lock {place}?
        Who may borrow the {thing}? | Who may lend the {thing}?
    """,
    "condition": """
        What do I do if the {thing} is too hot? | What do I do if the {thing} is too cold?
        What happens if {name} is late? | What happens if {name} is ill?
        What should I do when the {thing} beeps? | What should I do when the {thing} stops beeping?
        What do I do in case of a leak in {place}? | What do I do in case of smoke in {place}?
    """,
    "narrower": """
        What is the warranty of the {thing}? | What is the warranty of the {thing} motor?
        Who cleans {place}? | Who cleans the windows of {place}?
        Is the {thing} free? | Is the {thing} free on {day}?
        Where is the {thing}? | Where is the new {thing}?
        How do I clean the {thing}? | How do I clean the {thing} quickly with acid?
    """,
    "letter": """
        Is the {thing} in room {n}{letter}? | Is the {thing} in room {n}{mark}?
        Who sits in section {letter}? | Who sits in section {mark}?
        Which hose belongs to port {letter}{n}? | Which hose belongs to port {mark}{n}?
        Which valve is on circuit {letter}? | Which valve is on circuit a?
    """,
    "whose": """
        Where is my badge? | Where is your badge?
        What is our target for the {thing}? | What is their target for the {thing}?
        Is it his {thing}? | Is it her {thing}?
        Can I use the {thing}? | Can you use the {thing}?
        When do I get paid? | When does {name} get paid?
    """,
    "preposition": """
        What lies on the {thing}? | What lies under the {thing}?
        What is written on the {thing}? | What is written about the {thing}?
        Who works for {name}? | Who works with {name}?
        What came from {place}? | What went to {place}?
        Has it been closed since {day}? | Has it been closed until {day}?
    """,
}

_PARAPHRASES: Final = """
    Where is the fuse box? | Can you tell me where the fuse box is?
    Where is the fuse box? | Where do I find the fuse box?
    Where is the fuse box? | I am looking for the fuse box.
    Where are the snow chains? | Do you know where the snow chains are?
    Where are the snow chains? | Where did we put the snow chains?
    Where is the visitor parking? | Where can visitors park?
    Where can I charge the scooter? | In which place can I charge the scooter?
    Where does the bus stop? | Do you know where the bus stops?
    What is the door code of the bike shed? | What's the bike shed door code?
    What is the door code of the bike shed? | Please tell me the door code for the bike shed.
    What is the PIN of the tablet? | What's the tablet's PIN?
    What is the PIN of the tablet? | Which PIN does the tablet have?
    What is the address of the branch office? | What's the branch office's address?
    What is the address of the branch office? | Where is the branch office located?
    What is the email address of the landlord? | What is the landlord's e-mail address?
    What is the voltage of the battery? | What voltage does the battery have?
    What is the voltage of the battery? | How high is the voltage of the battery?
    What is the voltage of the battery? | How many volts does the battery have?
    What is the tyre pressure of the van? | How much air goes into the tyres of the van?
    What is the tyre pressure of the van? | What tire pressure does the van need?
    What is the humidity in the cellar? | How humid is the cellar?
    What is the humidity in the cellar? | Could you tell me the humidity in the cellar?
    What is the minimum order quantity? | What's the min order quantity?
    What is the minimum order quantity? | How many do we have to order at least?
    What is the model of the boiler? | Which model is the boiler?
    What is the size of the hall? | How big is the hall?
    What is the size of the hall? | How large is the hall?
    What is the width of the gate? | How wide is the gate?
    What is the depth of the pit? | How deep is the pit?
    How cold is the freezer? | What's the temperature of the freezer?
    How cold is the freezer? | What temperature is the freezer?
    How much does a ticket cost? | What is the price of a ticket?
    How much does a ticket cost? | How much is a ticket?
    How much is the deposit? | How high is the deposit?
    How much paint is left? | How much paint do we still have?
    How many seats does the minibus have? | How many people fit into the minibus?
    How many sockets are there in the lab? | What is the number of sockets in the lab?
    How many days of leave do I get? | How much leave do I get?
    How do I restart the router? | How can the router be restarted?
    How do I restart the router? | How would I restart the router?
    How do I restart the router? | What's the procedure for restarting the router?
    How do I restart the router? | How do I reboot the router?
    How do I bleed the radiator? | Please show me how to bleed the radiator.
    How do I bleed the radiator? | What are the steps for bleeding the radiator?
    How do I bleed the radiator? | How should I bleed the radiator?
    How do I defrost the freezer? | How is the freezer defrosted?
    How do I sharpen the blades? | Could you explain how to sharpen the blades?
    How do I sharpen the blades? | In what way are the blades sharpened?
    How do I replace the bulb in the hall? | How do I change the bulb in the hall?
    How do I replace the bulb in the hall? | How can I swap out the bulb in the hall?
    How do I turn off the alarm? | How do I deactivate the alarm?
    How do I turn off the alarm? | How do I switch the alarm off?
    How do I sign up for the course? | How can I register for the course?
    How do I connect the printer to the wifi? | How can I connect the printer to the Wi-Fi?
    How do I cancel a booking? | How does one cancel a booking?
    How do I cancel a booking? | What do I need to do to cancel a booking?
    How does the sluice work? | Could you tell me how the sluice works?
    How does the sluice work? | How does the sluice operate?
    How often do we water the lemon trees? | How frequently do we water the lemon trees?
    How often is the lift inspected? | How often is the elevator checked?
    How long does the dough have to rest? | For how long does the dough have to rest?
    How long does the dough have to rest? | How much time does the dough need to rest?
    How long is the break? | How many minutes is the break?
    How long does it take to drain the pool? | How much time does it take to drain the pool?
    How long will it take to drain the pool? | How long does it take to drain the pool?
    When does the library close? | What time does the library close?
    When does the library close? | Until when is the library open?
    When does the ferry leave? | At which time does the ferry leave?
    When does the ferry leave? | Do you know when the ferry leaves?
    When is the next fire drill? | What is the date of the next fire drill?
    When was the roof renovated? | On what date was the roof renovated?
    When was the roof renovated? | In which year was the roof renovated?
    When do the lambs get vaccinated? | When are the lambs vaccinated?
    What are the opening hours of the pharmacy? | When is the pharmacy open?
    What are the opening hours of the pharmacy? | What hours is the pharmacy open?
    Who is in charge of the orchard? | Who is responsible for the orchard?
    Who is in charge of the orchard? | Who looks after the orchard?
    Who is in charge of the orchard? | Who manages the orchard?
    Who is our contact at the bank? | Whom do we contact at the bank?
    Who is allowed to open the safe? | Who may open the safe?
    Who is allowed to open the safe? | Who has permission to open the safe?
    Who do I tell when I am sick? | Who should I tell if I am sick?
    Who do I tell when I am sick? | Whom do I inform when I am ill?
    Who delivers the hay? | Where does the hay come from?
    Who owns the trailer? | Who is the owner of the trailer?
    Who owns the trailer? | Whose trailer is it?
    Who wrote the manual? | Who is the author of the manual?
    Which cable is for the projector? | What cable is for the projector?
    Which key fits the attic? | What key fits the attic?
    Which key fits the attic? | Which key is for the attic?
    Which type of salt goes into the softener? | What kind of salt goes into the softener?
    Which side of the road do we drive on? | On which side of the road do we drive?
    What colour is the fire door? | Which colour is the fire door?
    What colour is the fire door? | What is the fire door's colour?
    What does code 0x80 mean? | What's the meaning of code 0x80?
    What does code 0x80 mean? | I'd like to know what code 0x80 means.
    What does the yellow lamp mean? | What is the meaning of the yellow lamp?
    What does the yellow lamp mean? | What does it mean if the yellow lamp is on?
    What is the lever on the left for? | What is the lever on the left used for?
    What is the difference between hay and straw? | How does hay differ from straw?
    What is the difference between hay and straw? | What's the difference between straw and hay?
    What should I do if the pipe bursts? | What do I do when the pipe bursts?
    What should I do if the pipe bursts? | What must be done if the pipe bursts?
    What should I do if the pipe bursts? | The pipe burst, what should I do?
    What do I do in case of fire? | What is to be done in case of fire?
    What do I do in case of fire? | What should I do if there is a fire?
    What happens if I miss the deadline? | What happens when I miss the deadline?
    What happens if I miss the deadline? | What if I miss the deadline?
    What do I need for the inspection? | What is needed for the inspection?
    Is the well covered? | Could you tell me if the well is covered?
    Is the well covered? | Is there a cover on the well?
    Is the heating on? | Do you know whether the heating is on?
    Is the ramp out of order? | Is the ramp broken?
    Is there a spare wheel? | Do we have a spare wheel?
    Is there a spare wheel? | Have we got a spare wheel?
    Are dogs allowed in the office? | Are dogs permitted in the office?
    Are dogs allowed in the office? | Can dogs come into the office?
    Am I allowed to take pictures? | May I take pictures?
    Am I allowed to take pictures? | Is it okay to take pictures?
    Do I need to book in advance? | Do I have to book in advance?
    Do I need to book in advance? | Is it necessary to book in advance?
    Can I pay by card? | Is it possible to pay by card?
    Can I pay by card? | Do you accept cards?
    Should I water the lawn at night? | Should we water the lawn at night?
    Why is the water brown? | How come the water is brown?
    Why is the water brown? | Do you know why the water is brown?
    Why does the door squeak? | What is the reason that the door squeaks?
    Why does the door squeak? | Can you explain why the door squeaks?
    Does the tractor need diesel? | Does the tractor run on diesel?
    Did the vet come? | Has the vet been here?
    On Sundays, who feeds the horses? | Who feeds the horses on Sundays?
    Hello, which form do I need? | Which form do I need?
    Quick question, where is the stapler? | Where is the stapler?
    Just wondering who has the projector. | Who has the projector?
    Thanks, and who has the ladder? | Who has the ladder?
    What is the max speed of the quad? | What is the quad's maximum speed?
    What is 15 percent of the budget? | What is 15% of the budget?
    Does the course start at 9 am? | Does the course start at 9 a.m.?
    What happens on the 2nd floor? | What happens on the second floor?
    Who empties the bins every week? | Who empties the bins weekly?
    How do I take care of the cactus? | How do I look after the cactus?
"""
