"""Places of work whose people talk to their device for months: what there is, what is said of it. Data for `dialogues`.

`hidden`: something said in passing, and a question that it answers without a word in common.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`machines`: near-identical things with a setting; `setting`: what of them is set; `goods`: what is delivered."""

    kind: str
    machines: tuple[str, ...]
    setting: str
    values: tuple[str, ...]
    doors: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[str, ...]
    duties: tuple[str, ...]
    parts: tuple[str, ...]
    goods: tuple[str, ...]
    events: tuple[str, ...]
    chat: tuple[str, ...]
    hidden: tuple[tuple[str, str], ...]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """What is said, and below it the question."""
    lines = _lines(text)
    return tuple(zip(lines[::2], lines[1::2], strict=True))


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(","))


WORLDS: Final = (
    World(
        kind="butcher",
        machines=_words(
            """
            cold room 1, cold room 2, cold room 3, cold room 4, the freezer cell, the display counter
            """
        ),
        setting="temperature",
        values=_words("0 °C, 1 °C, 2 °C, 3 °C, 4 °C, -18 °C, -20 °C, 5 °C"),
        doors=_words("the back gate, the side door, the smoke house, the loading bay"),
        things=_words(
            """
            the spare key, the bone saw guard, the salt barrow, the vacuum bags, the label rolls
            """
        ),
        places=_words(
            """
            the blue cabinet, the shelf behind the scale, the office drawer, the cellar stairs,
            the lower rack
            """
        ),
        duties=_words(
            """
            the smoke house, the hygiene log, the counter rota, the sausage line, the waste collection
            """
        ),
        parts=_words(
            """
            the seal of cold room 2, the blade of the slicer, the belt of the mincer,
            the nozzle of the filler
            """
        ),
        goods=_words("the pork halves, the spices, the casings, the ice"),
        events=_lines("""
            the compressor of cold room 3 tripped twice and restarted by itself
            the slicer jammed and we lost half an hour
            the vet came unannounced and found nothing
            a pallet of ice melted in the yard
            the scale showed 40 g too much until we levelled it
        """),
        chat=_lines("""
            It smells of marjoram everywhere today.
            The queue went out to the street this morning.
            My hands are frozen, I need a coffee.
            The apprentice dropped a whole tray of meatballs.
            People only want chicken at the moment.
        """),
        hidden=_pairs(
            """
            If nobody opens, ring at the widow's flat upstairs, she keeps a duplicate.
                How can somebody get in who stands before a locked shop?
            The old sow's liver gave me a rash, I wear nitrile since.
                Why does the boss never touch offal barehanded?
            Grandfather always hung the hams for ninety days, and so do we.
                For what period does the raw gammon mature?
            Sunday's barbecue is cancelled, the priest has lost his voice.
                Which summer party fell through because of illness?
            """
        ),
    ),
    World(
        kind="clinic",
        machines=_words(
            """
            vaccine fridge A, vaccine fridge B, vaccine fridge C, the blood fridge, the incubator,
            the warming cabinet
            """
        ),
        setting="temperature",
        values=_words("2 °C, 3 °C, 4 °C, 5 °C, 6 °C, 36.5 °C, 37 °C, 38 °C"),
        doors=_words("the drug cupboard, the archive, the ambulance entrance, the staff room"),
        things=_words(
            """
            the defibrillator, the oxygen trolley, the spare laryngoscope, the crash keys,
            the wheelchair scale
            """
        ),
        places=_words(
            """
            the corridor niche, treatment room 2, the nurses' desk, the laundry, the plaster room
            """
        ),
        duties=_words(
            """
            the vaccine stock, the night roster, the sterile goods, the complaint book,
            the student nurses
            """
        ),
        parts=_words(
            """
            the filter of the suction pump, the lamp of the ophthalmoscope, the cuff of the monitor,
            the door seal of fridge B
            """
        ),
        goods=_words("the blood products, the linen, the saline, the contrast agent"),
        events=_lines("""
            the lift was stuck between two floors with a patient in it
            the alarm of the blood fridge rang for nothing
            the printer ate the discharge letters
            a relative fainted in the corridor
            the steriliser stopped in the middle of its cycle
        """),
        chat=_lines("""
            What a night, eleven admissions.
            The coffee machine is more important than the scanner.
            Everybody asks for sick notes today.
            The new uniforms itch terribly.
            The full moon brings them all in.
        """),
        hidden=_pairs(
            """
            Mrs. Okafor comes out in hives from penicillin.
                Which antibiotic must the Nigerian lady not be given?
            The window in the isolation ward does not close, we put a towel there.
                Where is there a draught among infectious people?
            Dr. Lindqvist plays the cello on Thursdays, so she never swaps those.
                On what weekday can the Swedish physician not take over a shift because of music?
            The old man in bed nine hears only with his left ear.
                To which side should one speak with the deaf grandfather?
            """
        ),
    ),
    World(
        kind="bottling plant",
        machines=_words("line 1, line 2, line 3, the pasteuriser, the bottle washer, the labeller"),
        setting="speed",
        values=_words(
            """
            12000 bottles per hour, 14000 bottles per hour, 15500 bottles per hour,
            16000 bottles per hour, 18000 bottles per hour, 9000 bottles per hour
            """
        ),
        doors=_words("the syrup room, the CO2 store, the control room, gate 4"),
        things=_words(
            """
            the torque wrench, the crowner gauge, the spare photocell, the lockout padlocks,
            the inspection mirror
            """
        ),
        places=_words(
            """
            tool wall 3, the shift leader's desk, the red box, the workshop, the maintenance trolley
            """
        ),
        duties=_words(
            """
            the pasteuriser, the caustic dosing, the label stock, the forklift checks,
            the weekend shift
            """
        ),
        parts=_words(
            """
            the star wheel of line 2, the spray ring of the washer, the valve rubber of the filler,
            the belt of the palletiser
            """
        ),
        goods=_words("the preforms, the sugar, the caps, the shrink film"),
        events=_lines("""
            line 2 threw bottles until we found a broken star wheel
            the washer foamed over because somebody used the wrong soap
            the palletiser stacked six layers instead of five
            a forklift scratched the CO2 tank
            the labeller glued everything upside down for ten minutes
        """),
        chat=_lines("""
            My ears still ring from yesterday.
            The canteen had dumplings at last.
            Night shift again, wish me luck.
            Someone has eaten my yoghurt.
            It is 34 degrees on the gallery.
        """),
        hidden=_pairs(
            """
            Old Farrugia whistles when pressure builds up, he hears it before any gauge.
                Who notices by ear that a vessel is about to blow?
            We drink the first crate of every batch blind, and nobody may speak.
                How is the taste judged?
            The roof over bay six drips when the wind is from the west.
                Where does rain get in?
            Since the accident nobody wears a ring out here.
                Why has jewellery disappeared from people's fingers?
            """
        ),
    ),
    World(
        kind="hotel",
        machines=_words(
            """
            the sauna, the steam bath, the pool, the wine cellar, the ice machine, the conference room
            """
        ),
        setting="temperature",
        values=_words("12 °C, 14 °C, 21 °C, 27 °C, 28 °C, 29 °C, 45 °C, 85 °C, 90 °C"),
        doors=_words("the luggage room, the ski room, the garage, the linen store"),
        things=_words(
            """
            the master card, the baby cot, the ironing board, the lost and found box, the projector
            """
        ),
        places=_words(
            """
            the reception safe, the third floor pantry, the night porter's cupboard, the bell desk,
            the attic
            """
        ),
        duties=_words(
            """
            the breakfast room, the minibars, the group bookings, the pool chemicals, the shuttle
            """
        ),
        parts=_words(
            """
            the pump of the whirlpool, the lamp of the projector, the lock of room 214,
            the gasket of the dishwasher
            """
        ),
        goods=_words("the fresh towels, the bread, the flowers, the newspapers"),
        events=_lines("""
            a guest locked himself out on the balcony of 312
            the fire alarm went off because of burnt toast
            the pool turned green over night
            the lift doors squeezed a suitcase
            a whole choir checked in a day early
        """),
        chat=_lines("""
            The lobby smells of wet dogs.
            Every guest asks for the weather.
            I have walked twelve kilometres since breakfast.
            The pianist was brilliant yesterday.
            The new carpets look like pizza.
        """),
        hidden=_pairs(
            """
            The gentleman in 408 wants his pillows filled with buckwheat.
                What does the eccentric upstairs insist on for his bedding?
            Never put the Moreaus next to the elevator, they sleep badly.
                Which couple needs a quiet corner of the house?
            The baroness travels with two parrots and pays for them like children.
                Who brings birds along?
            When the band stops, the neighbour stops calling the police.
                Why do officers turn up on party evenings?
            """
        ),
    ),
    World(
        kind="greenhouse",
        machines=_words("house 1, house 2, house 3, house 4, the seedling tunnel, the cool store"),
        setting="humidity",
        values=_words("55 %, 60 %, 65 %, 68 %, 70 %, 75 %, 80 %, 85 %"),
        doors=_words("the spray store, the seed vault, the boiler house, the farm shop"),
        things=_words(
            """
            the EC meter, the grafting knives, the bumblebee boxes, the sulphur burner,
            the backpack sprayer
            """
        ),
        places=_words(
            """
            the potting shed, the pump room, the tractor cabin, the grey container, the packing hall
            """
        ),
        duties=_words(
            """
            the tomatoes, the irrigation, the bumblebees, the seasonal workers, the plant passports
            """
        ),
        parts=_words(
            """
            the vent motor of house 3, the membrane of the dosing pump, the nozzle of the fogger,
            the belt of the grader
            """
        ),
        goods=_words("the substrate, the fertiliser, the crates, the seedlings"),
        events=_lines("""
            a storm tore the film of house 4
            the fogger ran all night by mistake
            whitefly turned up on the peppers
            the boiler went out and it froze at the north wall
            the grader crushed two crates of cucumbers
        """),
        chat=_lines("""
            My boots are soaked again.
            The swallows are back in the packing hall.
            It is like a jungle in there.
            Nobody wants to buy aubergines this year.
            The radio only plays love songs.
        """),
        hidden=_pairs(
            """
            Pham's whole family picks by moonlight in August because of the heat.
                Who harvests after dark during the hottest weeks?
            A fox sleeps behind the compost, nobody is to chase it.
                What wild animal lives near the rotting leaves?
            The bank wants to see us every quarter until the loan is gone.
                How frequently do creditors ask for a meeting?
            Yellow leaves at the bottom mean it is starving for magnesium.
                How does a plant show that it lacks a mineral?
            """
        ),
    ),
    World(
        kind="garage",
        machines=_words("lift 1, lift 2, lift 3, the paint booth, the compressor, the brake tester"),
        setting="pressure",
        values=_words("6.0 bar, 6.5 bar, 7.0 bar, 7.5 bar, 8.0 bar, 8.5 bar, 9.0 bar, 10.0 bar"),
        doors=_words("the tyre store, the key cabinet, the yard gate, the oil room"),
        things=_words(
            """
            the diagnosis tablet, the timing tool, the spring compressor, the trade plates,
            the jump starter
            """
        ),
        places=_words(
            """
            bay 2, the parts counter, the steel locker, the recovery truck, the tea kitchen
            """
        ),
        duties=_words(
            """
            the paint booth, the inspections, the rental cars, the oil separator, the apprentices
            """
        ),
        parts=_words(
            """
            the valve of the compressor, the roller of the brake tester, the pump of lift 3,
            the filter of the booth
            """
        ),
        goods=_words("the tyres, the engine oil, the paint, the batteries"),
        events=_lines("""
            lift 2 sank by a hand's breadth with a van on it
            the compressor blew its safety valve
            a customer drove off with our trade plates
            the tester printed nonsense until we cleaned the rollers
            somebody filled petrol into the diesel van
        """),
        chat=_lines("""
            Winter tyre week, pray for us.
            The dog has taken the customer chair again.
            Nobody can find the ten millimetre socket.
            That old estate will outlive all of us.
            The radio aerial is art, said the customer.
        """),
        hidden=_pairs(
            """
            Tiberiu's shoulder is not healed, nothing above his head till spring.
                Whose injury rules out work on exhausts from beneath?
            The vicar pays in honey, and that is fine with me.
                What does the clergyman give instead of money?
            We never hand out an invoice on a Friday, bad luck.
                When does superstition keep people from being billed?
            The red coupe belongs to the mayor's secret lady.
                Whose mistress owns a sports car?
            """
        ),
    ),
    World(
        kind="school kitchen",
        machines=_words(
            """
            oven A, oven B, oven C, the tilting pan, the blast chiller, the salad fridge
            """
        ),
        setting="temperature",
        values=_words("3 °C, 4 °C, 5 °C, 75 °C, 160 °C, 170 °C, 180 °C, 190 °C, 200 °C"),
        doors=_words("the dry store, the cleaning cupboard, the bin yard, the walk-in fridge"),
        things=_words(
            """
            the allergen folder, the probe thermometer, the big whisk, the fire blanket, the cash box
            """
        ),
        places=_words(
            """
            the pass, the head cook's office, the top shelf, the trolley, the changing room
            """
        ),
        duties=_words(
            """
            the allergy list, the salad bar, the dishwasher, the orders, the breakfast club
            """
        ),
        parts=_words(
            """
            the lamp of oven B, the pump of the dishwasher, the hinge of the salad fridge,
            the knife of the cutter
            """
        ),
        goods=_words("the vegetables, the milk, the frozen fish, the bread rolls"),
        events=_lines("""
            the dishwasher flooded the corridor
            oven B burnt a hundred fish fingers
            the inspector took samples of the soup
            a child found a screw in the rice
            the blast chiller iced up completely
        """),
        chat=_lines("""
            Eight hundred pancakes, I see them in my sleep.
            They have eaten all the broccoli, unbelievable.
            The radio is broken, so we sing.
            My apron shrank, or did I grow?
            The little ones drew us a picture.
        """),
        hidden=_pairs(
            """
            The twins in year four swell up if a peanut is even in the room.
                Which siblings risk their life near nuts?
            Gravy first, then the caretaker smiles.
                How does one put the janitor in a good mood?
            On the last day before Christmas everybody eats for free.
                When is there no charge at table?
            The headmistress cannot stand the smell of cabbage.
                Which vegetable's odour bothers the principal?
            """
        ),
    ),
    World(
        kind="warehouse",
        machines=_words(
            """
            zone A, zone B, zone C, the battery room, the deep freeze aisle, the pharma cage
            """
        ),
        setting="temperature",
        values=_words("-25 °C, -22 °C, -18 °C, 2 °C, 8 °C, 15 °C, 18 °C, 20 °C"),
        doors=_words("the customs cage, dock 7, the server room, the hazmat store"),
        things=_words(
            """
            the pallet probe, the ramp key, the spill kit, the label printer, the manual stacker
            """
        ),
        places=_words(
            """
            dock 3, the dispatcher's window, row 12, the charging station, the returns corner
            """
        ),
        duties=_words(
            """
            the returns, the hazmat store, the night loading, the stock count, the forklift training
            """
        ),
        parts=_words(
            """
            the mast chain of truck 5, the battery of the scanner, the motor of dock 7,
            the roller of the sorter
            """
        ),
        goods=_words("the empties, the dry ice, the parcels, the medical boxes"),
        events=_lines("""
            a rack leg was bent by a reach truck
            the sorter sent everything to dock 3
            a driver slept through his slot
            forty pallets came without papers
            the sprinkler in row 12 leaked on cartons
        """),
        chat=_lines("""
            Peak week, no end in sight.
            The vending machine ate my coins.
            Who parked his bike in the lane?
            The drivers have a barbecue on the ramp.
            My scanner beeps in my dreams.
        """),
        hidden=_pairs(
            """
            Wojtek faints at the sight of blood, call somebody else for cuts.
                Which colleague is no use as a first aider?
            The cat catches more than the pest man, so she stays.
                What animal keeps the mice away?
            Everything for the islands has to be wrapped twice because of the salt air.
                How are goods protected that go overseas by ship?
            Uncle Ray built the mezzanine himself and never asked anybody.
                Which upper storey lacks a permit?
            """
        ),
    ),
    World(
        kind="brewery",
        machines=_words("tank 1, tank 2, tank 3, tank 4, tank 5, the lagering cellar"),
        setting="temperature",
        values=_words("1 °C, 2 °C, 6 °C, 8 °C, 10 °C, 12 °C, 18 °C, 20 °C"),
        doors=_words("the malt loft, the keg store, the taproom, the yeast lab"),
        things=_words(
            """
            the hydrometer, the bung key, the keg trolley, the sample glasses, the hop scale
            """
        ),
        places=_words(
            """
            the mash platform, the lab fridge, the cooper's bench, the office window, the barrel room
            """
        ),
        duties=_words(
            """
            the yeast, the bottling days, the guided tours, the excise papers, the spent grain
            """
        ),
        parts=_words(
            """
            the gasket of tank 3, the impeller of the wort pump, the valve of the keg washer,
            the stone of the carbonator
            """
        ),
        goods=_words("the malt, the hops, the empty kegs, the CO2"),
        events=_lines("""
            tank 3 overshot and the yeast woke up again
            the mash stuck for two hours
            a tourist opened the wrong tap
            the keg washer lost a hose and soaked the wall
            we poured away a whole batch of stout
        """),
        chat=_lines("""
            The whole street smells of porridge.
            The wheat beer is the best in years.
            I have hop dust in my hair.
            The brass band practised in the yard.
            Someone asked for a lager without alcohol, gluten and bubbles.
        """),
        hidden=_pairs(
            """
            Aunt Hedda sniffs each barrel, and what she frowns at goes to the pigs.
                Who decides by nose that a cask is bad?
            The monks get theirs for nothing, that was promised in 1803.
                Which customers are never charged, by an old vow?
            Nobody under eighteen goes beyond the brass rail.
                How far may teenagers walk in?
            At full moon the dog howls at the chimney, so the guests think it is haunted.
                Why do visitors believe in ghosts?
            """
        ),
    ),
    World(
        kind="marina",
        machines=_words(
            """
            the crane, the slipway winch, the fuel pump, the pump-out station, jetty lights 1,
            jetty lights 2
            """
        ),
        setting="limit",
        values=_words(
            """
            4 tonnes, 5 tonnes, 6 tonnes, 7 tonnes, 8 tonnes, 10 tonnes, 40 litres, 60 litres
            """
        ),
        doors=_words("the winter shed, the shower block, the fuel hut, the sail loft"),
        things=_words(
            """
            the pilot book, the hand-held radio, the tow line, the boom keys, the bilge pump
            """
        ),
        places=_words(
            """
            the harbour office, the rescue boat, locker 9, the workshop bench, the flag store
            """
        ),
        duties=_words(
            """
            the guest berths, the crane, the fuel station, the regatta, the winter storage
            """
        ),
        parts=_words(
            """
            the brake of the winch, the hose of the fuel pump, the lamp of jetty 2,
            the sling of the crane
            """
        ),
        goods=_words("the diesel, the gas bottles, the ropes, the ice cream"),
        events=_lines("""
            a mast touched the crane and bent
            the fuel pump stopped at exactly 40 litres
            a swan nested on the slipway
            the storm pushed two yachts onto the beach
            the shower block had no hot water all weekend
        """),
        chat=_lines("""
            The water is like glass today.
            Seventeen boats in before noon.
            The gulls have stolen my sandwich.
            I smell of diesel and sun cream.
            Everybody wants the berth next to the bar.
        """),
        hidden=_pairs(
            """
            Captain Aalto sees no red or green, so he never berths at night.
                Who is colour-blind and therefore only arrives by daylight?
            The grey catamaran owes us three summers.
                Which vessel's owner has not paid for years?
            When the bell rings twice a child is missing.
                What signal means that a little one got lost?
            Put bread in the bilge and the eel comes out.
                How is the fish lured from below the floorboards?
            """
        ),
    ),
)

FIRST_NAMES: Final = _words(
    """
    Anna, Anke, Bert, Berta, Carla, Carlo, Dana, Dario, Elif, Elin, Finn, Fiona, Greta, Gerd, Hana, Hanno, Ines, Ivo,
    Jana, Jonas, Kaja, Karl, Lena, Leon, Mara, Marek, Nadia, Nils, Olga, Omar, Paula, Pavel, Rosa, Ruben, Sara, Samir,
    Tara, Theo, Vera, Viktor
    """
)
LAST_NAMES: Final = _words(
    "Berg, Burg, Costa, Kosta, Dietz, Fehr, Graf, Graber, Holm, Hahn, Iten, Jost, Keller, Kohler, Lang, Lange, Meier,"
    " Maier, Nagy, Okoye, Petrov, Quist, Roth, Rust, Sommer, Suter, Tran, Ulmer, Vogel, Weber"
)
CHAT: Final = _lines("""
    Good morning! Is it Friday yet?
    I slept badly, how are you?
    Did you hear the thunder last night?
    Remind me never to buy cheap pens again.
    Tell me something cheerful.
    The tram was late again.
    Can you recommend a film for the weekend?
    My neighbour is learning the trumpet.
    We had cake for somebody's birthday.
    I am off for lunch.
    Is it going to rain?
    That was a long day.
    What would you cook with two eggs and a leek?
    My phone battery is always empty.
    Nothing new today, everything quiet.
    I hope the holidays come soon.
""")
CHAT_REPLIES: Final = _lines("""
    I hope the day gets better.
    That sounds like a lot.
    I cannot see the sky, but I believe you.
    Enjoy it.
    Let me know if I can help.
    Noted, with a smile.
    Same as ever, thank you.
    I would love to, but I have no hands.
""")
ACKNOWLEDGEMENTS: Final = _lines("""
    Noted.
    Thank you, I will remember that.
    All right.
    Got it.
    Understood.
    Good to know.
    I have written it down.
    Fine, noted.
""")
EVASIONS: Final = _lines("""
    As you told me last time.
    You noted that a while ago, it still holds.
    I would have to look that up.
    You said so earlier.
    The same as before, as far as I know.
""")
