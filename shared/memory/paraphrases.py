"""What may be said in two ways without asking or stating anything else: words, phrases, ways of asking. Data. Pure.

Each rule is so narrow that nothing it makes equal has another answer. Opposites, degrees, permission and duty, tenses,
quantities and whatever names a thing are in no rule. A rule that is nearly always right does not belong here: two
questions that differ too much cost a second answer, two that are wrongly taken for one give a false one.

Rules are regular expressions over the words of a sentence with single spaces between them (`words`), applied in order,
each to what the one before left. `the`, `a` and `an` still stand there.
"""

import re
from typing import Final

from shared.memory.words import words_of

ARTICLES: Final = frozenset(["the", "an"])
"""`a` may also be a name (`pump a`), and is looked at more closely."""
ARTICLE_TELLS: Final = frozenset(["fine", "matter", "point"])
"""What is a thing behind an article, and something else without one: `what is the fine`, `what is fine`."""
AUXILIARIES: Final = {
    "is": "be", "are": "be", "am": "be", "was": "was", "were": "was", "do": "", "does": "", "did": "did",
    "has": "have", "have": "have", "had": "had", "will": "will", "would": "would", "can": "can", "could": "could",
    "may": "may", "might": "might", "must": "must", "shall": "shall", "should": "should",
}  # fmt: skip
"""Where one stands does not matter as long as it is the only one: `what the limit is`, `what is the limit`."""
PREPOSITIONS: Final = frozenset(
    words_of(
        """
        about above across after against along among around at before behind below beneath beside between beyond by
        despite down during except for from in inside into like near of off on onto out outside over past per since
        through throughout till to toward towards under until up upon via with within without
        """
    )
)
JOINING: Final = frozenset(
    words_of("and or but nor that which who whom whose when while where if because than as")
)
PRONOUNS: Final = frozenset(
    words_of(
        """
        i you he she it we they me him her us them this that these those my your his its our their mine yours hers ours
        theirs myself yourself itself ourselves themselves one ones here there
        """
    )
)
QUESTION_WORDS: Final = frozenset(words_of("what which who whom whose when where why how howto"))
MOMENTS: Final = frozenset(["today", "yesterday", "tomorrow", "tonight", "now"])
"""Where one stands does not matter as long as it is the only one."""

WORDS: Final = {
    variant: words[0]
    for words in (
        line.split()
        for line in """
        fridge refrigerator
        temperature temp
        maximum max
        phone telephone
        photo photograph
        start begin commence
        repair fix mend
        replace exchange
        buy purchase
        closed shut
        big large
        quick fast quickly
        necessary required needed
        permitted allowed
        forbidden prohibited
        defective faulty
        happen occur
        check inspect examine
        checked inspected examined
        replaced exchanged
        repaired mended fixed
        started commenced
        happened occurred
        purchased bought
        lift elevator
        colour color
        centre center
        litre liter
        tyre tire
        grey gray
        programme program
        licence license
        wifi wlan
        ill sick
        now currently presently
        doctor physician
        lorry truck
        assist help
        garbage trash rubbish
        mobile cellphone
        """.splitlines()
        if line.strip()
    )
    for variant in words[1:]
} | {"ok": "okay", "nr": "number", "approx": "approximately"}
"""One word for another, wherever it stands."""

IRREGULAR: Final = {
    "men": "man", "women": "woman", "children": "child", "feet": "foot", "teeth": "tooth", "mice": "mouse",
    "knives": "knife", "shelves": "shelf", "halves": "half", "lives": "life", "shoes": "shoe", "goes": "go",
    "does": "do", "caches": "cache", "axes": "axe", "criteria": "criterion", "wolves": "wolf", "loaves": "loaf",
}  # fmt: skip
KEPT: Final = frozenset(
    words_of(
        """
        as is was has his its this thus us yes less unless always perhaps plus minus besides gas bus lens news series
        species means customs goods arms glasses times minutes works specs odds thanks hers ours yours theirs ones outs
        ins ups downs across towards afterwards sometimes whereas across various previous serious goods savings
        sets cuts puts hits lets costs reads shuts resets quits splits spreads bursts hurts bets
        quarters damages grounds
        earnings premises spirits stairs upstairs downstairs overseas christmas physics mathematics electronics
        """
    )
)
"""What ends in s and is, without it, something else or nothing; and what would then read like its own past."""

ATTRIBUTES: Final = frozenset(
    words_of(
        """
        temperature pressure humidity limit price cost code password pin name address colour size weight height
        length width depth age status state setting capacity date location position owner manager supplier
        manufacturer maker model version speed level voltage power current frequency opening_hours opening closing
        colour brand type serial batch expiry warranty phone email extension diameter volume duration purpose meaning
        maximum minimum deadline schedule budget rent salary population capital author title topic agenda value
        """
    )
)
"""`the A of the B` is `the B's A` and `the B A` for these. Not for what holds something: a cup of coffee is no coffee
cup."""
ATTRIBUTES_IN: Final = frozenset(["temperature", "pressure", "humidity"])
"""`the A in the B` too."""
ATTRIBUTES_FOR: Final = frozenset(["code", "password", "pin", "price", "supplier", "warranty"])
"""`the A for the B` too."""

_ME: Final = r"(?:me|us)"
_ASKING: Final = (
    r"(?:(?:can|could|would|will) you (?:kindly |maybe |perhaps |possibly |quickly )*"
    rf"(?:tell|remind|inform|show|explain(?: to)?|say|check|find out|look up)(?: {_ME})?"
    rf"|(?:tell|remind|show|let) {_ME}(?: know)?"
    rf"|explain(?: to {_ME})?|say"
    r"|(?:do|would) you (?:happen to |maybe )?know|do you remember|do you have any idea|any idea"
    r"|i (?:would |just )*(?:want|need|like|love|wish) to (?:know|find out|ask|learn|understand)"
    r"|i am (?:just )?(?:wondering|curious|asking)|i was (?:just )?wondering|i wonder|i forgot"
    r"|i have forgotten|i do not know"
    rf"|(?:may|can|could|might) (?:i|we) (?:ask|know)(?: you)?"
    r"|is it possible to know|what i (?:want|need) to know is|my question is|the question is|please)"
)
_BEGINS: Final = (
    r"(?=(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|do|does|did|can|could|would|will|may|must"
    r"|should|has|have|tell|remind|explain|show|i|any|at|for|on|in) )"
)
COURTESY: Final = re.compile(
    r"^(?:(?:hi there|hello there|hey there|hi|hello|hey|please|kindly|excuse me|sorry) "
    r"|(?:okay|so|well|and|also|dear|covey|again|by the way|good (?:morning|afternoon|evening|day)"
    rf"|(?:just )?(?:a )?(?:quick )?question|i have a (?:quick )?question) {_BEGINS})+"
)
FAREWELL: Final = re.compile(
    r"(?: (?:please|(?:thanks|thank you|thx|many thanks|thanks a lot|thank you very much)(?: in advance)?|if you know"
    r"|if i may ask|if you do not mind))+$"
)
EMBEDDING: Final = re.compile(
    rf"^(?:{_ASKING} )+(?=(?:(?:at |for |in |on |to |from |with )?(?:what|which|who|whom|whose|when|where|why|how)|if"
    r"|whether) )"
)
"""What only introduces a question. Without a question word behind it, it may be what is asked for."""
EMBEDDED_NOUN: Final = re.compile(
    rf"^(?:(?:please )?(?:(?:can|could|would) you (?:please )?)?(?:tell|give|remind) {_ME}(?: of)?"
    r"|i (?:would like|want|need) to know) (?=(?:the|our|my) )"
)

GENERIC: Final = r"(?:i|we|you|1)"
"""Words count numbers in digits: `how does 1 do it`."""
_ASKS: Final = (
    r"(?:what|where|who|when|why|how|which \w+"
    r"|how (?:old|high|hot|warm|cold|long|often|big|large|heavy|far|much|many(?: \w+)?))"
)
INVERSIONS: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"^({_ASKS}) {GENERIC} (can|could|should|must|may|am|are|have to) ", r"\1 \2 i "),
        (rf"^(how|where|when|why|what|who) ({GENERIC}) (?=\S)", r"\1 do \2 "),
        (r"^(what|how much) (.+) costs$", r"\1 does \2 cost"),
        (r"^(what) (.+) means$", r"\1 does \2 mean"),
        (r"^(how) (.+) works$", r"\1 does \2 work"),
        ((rf"^({_ASKS}) (?!(?:is|are|was|were) )(.+) (is|are|was|were)"
         r"(| located| situated| called| used for| kept| stored)$"),
         r"\1 \3 \2\4"),
        ((rf"^({_ASKS}) (?=(?:the|our|my|an) )([^|]+?) "
         r"(can|could|must|should|will|may|has to be|is|are|was|were) (?=\S)"),
         r"\1 \3 \2 "),
    )
)  # fmt: skip
"""Of a question that stands in another sentence: `what the limit is` as `what is the limit`."""
_NOUN: Final = r"(?:the |a |an |our |my |this |that )?\S+(?: \S+)*?"
_DONE: Final = {
    "cleaned": "clean", "replaced": "replace", "changed": "change", "reset": "reset", "calibrated": "calibrate",
    "repaired": "repair", "drained": "drain", "emptied": "empty", "installed": "install", "removed": "remove",
    "adjusted": "adjust", "lubricated": "lubricate", "restarted": "restart", "tested": "test", "stored": "store",
    "disposed of": "dispose of", "rebooted": "reboot", "defrosted": "defrost", "refilled": "refill",
    "disinfected": "disinfect", "sterilised": "sterilise", "sterilized": "sterilize", "packed": "pack",
}  # fmt: skip
DONE: Final = _DONE
"""What is done to something, as somebody does it."""
PASSIVE_HOWTO: Final = re.compile(
    rf"^how (?:(?:is|are|does|do) (?P<what>{_NOUN}) (?:get )?(?P<done>{'|'.join(_DONE)})"
    rf"|(?:can|could|should) (?P<what2>{_NOUN}) be (?P<done2>disposed of|[a-z]{{3,}}ed|reset))(?P<rest>$| .*)$"
)
_MEASURES: Final = {
    "hot": "temperature", "warm": "temperature", "cold": "temperature", "heavy": "weight", "old": "age",
    "tall": "height", "wide": "width", "deep": "depth", "big": "size", "large": "size", "humid": "humidity",
}  # fmt: skip
_STUFF: Final = (
    "(?:oil|fuel|petrol|diesel|gas|grease|glue|paint|coolant|detergent|soap|water|salt|paper|wood|steel)"
)
_HIGH: Final = "temperature|pressure|humidity|limit|price|cost|level|voltage|rent|fee|temp|salary|speed"
_VALUED: Final = r"\w+_number|temperature|pressure|humidity|colour|size|weight|height|voltage|speed|age"
PHRASES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # One thing in several words.
        (r"\ba (few|little|lot|bit|couple)\b", r"a_\1"),
        (r"\b(part|serial|model|batch|order|account|invoice|lot|article|item|registration) number\b", r"\1_number"),
        (r"\b(has|have) got\b(?! to\b)", r"\1"),
        (r"\bout of order\b", "broken"),
        (r"\bat the moment\b|\bright now\b|\bat present\b|\bjust now\b|\bas of now\b", "now"),
        (r"\b(?:every|each|per|once a|once per|once every|on every) (day|week|month|year|hour)\b", r"each_\1"),
        (r"\bdaily\b", "each_day"), (r"\bweekly\b", "each_week"), (r"\bmonthly\b", "each_month"),
        (r"\b(?:yearly|annually)\b", "each_year"), (r"\bhourly\b", "each_hour"),
        (r"\btwice\b", "2 times"),
        (r"\b(?:switch|turn|power) (on|off)\b(?! (?:line|page|channel|floor) \d)", r"turn_\1"),
        (r"\bpower up\b", "turn_on"), (r"\bpower down\b|\bshut off\b", "turn_off"),
        (r"\b(?:switch|turn) ((?:the|our|my|this|that) (?:(?!on |off )\S+ ?)+) (on|off)$", r"turn_\2 \1"),
        (r"\b(?:power|electricity) (?:cut|outage|failure)\b|\bblackout\b", "power_cut"),
        (r"\b(?:opening|business) (?:hours|times)\b|\bhours of (?:operation|opening)\b|\bopen hours\b",
         "opening_hours"),
        (r"\b(?:tele)?phone number\b", "phone_number"),
        (r"\bpersonnel\b", "staff"), (r"\be mail\b", "email"), (r"\bswap out\b", "replace"),
        (r"\bthe day before yesterday\b", "before_yesterday"), (r"\bthe day after tomorrow\b", "after_tomorrow"),
        ((r"\bmaximum (?:allowed|allowable|permitted|permissible)\b"
         r"|\b(?:highest|top) (?:allowed|permitted|permissible)\b"),
         "maximum permitted"),
        (r"\bminimum (?:allowed|allowable|permitted|permissible)\b|\blowest (?:allowed|permitted|permissible)\b",
         "minimum permitted"),
        ((r"\b(?:change|replace) (?=(?:the |a |an )?(?:\S+ )?(?:\S+ )?(?:filter|battery|batteries|bulb|lamp|belt|oil"
         r"|seal|cartridge|fuse|blade|gasket|toner|bearing|tyre|hose)s?\b)"), "replace "),
        ((r"\bchanging (?=(?:the |a |an )?(?:\S+ )?(?:\S+ )?(?:filter|battery|batteries|bulb|lamp|belt|oil"
         r"|seal|cartridge|fuse|blade|gasket|toner|bearing|tyre|hose)s?\b)"), "replacing "),
        (r"\bin order to\b|\bso as to\b", "to"), (r"\bas well as\b", "and"), (r"\bin case of(?: a| an)?\b", "incaseof"),
        (r"\bin the (?:event|case) of(?: a| an)?\b|\b(?:if|when) there is(?: a| an)?\b", "incaseof"),
        (r"\b(?:is|am|are) not (?:allowed|permitted)\b", "is forbidden"),
        (r"\blocated\b|\bsituated\b", "located"),
        (r"\b(?:speak|speaking) (?:to|with)\b|\btalk (?:to|with)\b", "talk to"),
        # Question words.
        (r"^whereabouts\b", "where"), (r"\bwhom\b", "who"),
        (r"^(what|which|who|where|when|why|how) exactly\b", r"\1"),
        # A day is no answer to who asks for the time, nor a time to who asks for the day: so only of what goes by the
        # clock, and of what is long over.
        ((r"\b(?:at )?(?:what|which) time\b(?! (?:did|was|were|has|had|zone|frame|limit|slot|unit)\b)"
         r"(?= .*\b(?:open|close|start|begin|end|finish|leave|depart|arrive)s?$)"), "when"),
        (r"^(?:on )?(?:what|which) date\b(?= (?:did|was|were)\b)", "when"), (r"^what is the date when\b", "when"),
        (r"^how come\b|^for what reason\b|^what is the reason (?:that|why)\b|^why is it that\b", "why"),
        (r"^(?:for )?how long\b|^(?:for )?how much time\b", "how long"),
        (r"^how (?:frequently|regularly)\b|^at (?:what|which) intervals?\b", "how often"),
        (r"^how many times (?=(?:a|per|each)[ _])", "how often "),
        (r"^what number of\b|^which number of\b", "how many"),
        ((r"^what (?=(?!(?:is|are|was|were|am|do|does|did|has|have|had|will|would|can|could|may|might|must"
         r"|shall|should|if"
         r"|the|an|our|my|i|we|you|about|happens|happened|happen|makes|made|causes|caused|else"
         r"|to|in|on|of|for|at|with|from|not)\b)\S)"), "which "),
        (r"^which (?=(?:happens|happened|else)\b)", "what "),
        # Of a stuff. Which pump runs is no question for what kind of pump.
        (rf"^(?:what|which) (?:kind|type|sort)s? of (?={_STUFF}\b)", "which "),
        # Whole ways of asking.
        (r"^who is the supplier of ", "who supplies "),
        (r"^who (?:is|are) the owners? of ", "who owns "),
        (r"^who is the manager of ", "who manages "),
        (r"^who (?:is|are) (?:allowed|permitted) to ", "who may "),
        (r"^how far is it (?=to|from)", "what is the distance "),
        # Not how long it lasts: paint that takes a day to dry lasts for years.
        (r"^how long (?:does|do) (.+) take$", r"what is the duration of \1"),
        (r"^what makes (.+) so (\S+)$", r"why is \1 so \2"),
        (r"^is it possible for (?!me |us )(.+?) to ", r"can \1 "),
        (rf"^where (?:do|should) {GENERIC} (?:keep|store) (.+)$", r"where is \1 stored"),
        (
            (r"^how (?:much|high) (?:is|are) the "
            r"((?:\S+ )*(?:fee|rent|price|cost|fine|salary|wage|deposit|charge|bill|budget))$"),
            r"what is the \1",
        ),
        (r"^(?:is there|are there|do we have|have we got|do you have|have you got)(?: any)? ", "there_is "),
        (r"^what is the number of (?!(?:the|our|my|a|an) )(\S+s)(?= |$)", r"how many \1 are"),
        (r"^how many (\S+(?: \S+)?) (?:do we have|have we got|are there)(?= (?:in|on|at)\b|$)", r"how many \1 are"),
        (r"^who (?:do|should) (i|we) (?:call|phone|ring|telephone)\b", r"who should \1 call"),
        (r"^(who should (?:i|we) call) (?:when|in case) ", r"\1 if "),
        (r"^who (?:do|should) (i|we) (?=(?:contact|ask|inform|notify|report|tell|talk)\b)", r"who should \1 "),
        (r"^where (?:do|should) (i|we) (?=(?:put|park|store|report|throw|dispose|leave|send)\b)",
         r"where should \1 "),
        (r"^when (does|do|did|will) (.+) (?:finish|end)$", r"when \1 \2 end"),
        (r"\bbe kept (?=at|in|below|above|under|between)", "be stored "),
        (r"^(where (?:is|are) .+|how long (?:can|may) .+ be) kept$", r"\1 stored"),
        (rf"^how (?:do|can|could|would|should) {GENERIC} (?:go about|proceed to|manage to|best) ", "how to "),
        (rf"^how (?:do|does|can|could|would|should) {GENERIC} ", "how to "),
        (r"^how (?:am i|are we|is 1) (?:supposed|meant) to ", "how to "),
        (r"^(?:what|which) is (?:the|a) (?:\w+ )?(?:way|procedure|process|method|steps?) (?:to|for|of) ", "how to "),
        (r"^(?:what|which) are the steps (?:to|for|of|in) ", "how to "),
        (r"^(?:what|which) steps (?:do|must|should) (?:i|we|you) (?:take|follow) to ", "how to "),
        (rf"^what (?:do|should|must|shall) {GENERIC} (?:have to |need to )?do to ", "how to "),
        (r"^(?:i )?need (?:help|instructions|to know how)(?: with| for| on)? (?:to )?(?=\S+ing )", "how to "),
        (r"^i (?:want|need|would like) to know how to ", "how to "),
        (r"^instructions (?:for|on) (?=\S+ing )", "how to "),
        # Not what can be done: that is no duty.
        (rf"^what (?:do|should|must|shall) {GENERIC} (?:have to |need to )?do (?:if|when|in case) ",
         "what to do if "),
        (r"^what (?:to do|is to be done|must be done|should be done|has to be done) (?:if|when|in case) ",
         "what to do if "),
        (rf"^what (?:do|should|must|shall) {GENERIC} do (?=incaseof )", "what to do "),
        (r"^what (?:is to|must|should) be done (?=incaseof )", "what to do "),
        (r"^what (?:happens|will happen|if|happens when|happens if) (?:if |when )?(?=(?!to |in |on |at )\S)",
         "what happens if "),
        (r"^(?:may|am|are) (?:i|we|1) (?:allowed to |permitted to )", "may one "),
        (r"^is it (?:okay|fine|permitted|allowed) (?:to|for me to|for us to|if i|if we) ", "may one "),
        (r"^(?:may (?:i|we|1)|do (?:i|we) have permission to) ", "may one "),
        (r"^(?:can (?:i|we|1)|is it possible (?:to|for (?:me|us) to)) ", "can one "),
        (r"^should (?:i|we|1) |^ought (?:i|we) to ", "should one "),
        ((r"^(?:what is the (?:exact )?(?:location|whereabouts) of|where (?:do|can|could|would|will|might|should) "
         r"(?:i|we|you|1) find|where is there) (?=(?!that\b|what\b|out\b)\S)"), "where is "),
        (r"^where (?:is|are) (.+) (?:located|situated)(?= |$)", r"where is \1"),
        (r"^where (?:can|could) (.+) be found$", r"where is \1"),
        (r"^where (?:is|are) (.+) to be found$", r"where is \1"),
        (r"^which (?:place|room|location) is (.+) in$", r"where is \1"),
        (r"^who is the (?:person|one|man|woman|colleague) (?:who|that) ", "who "),
        (r"\b(?:in charge of|accountable for|the (?:person|one) responsible for|the responsible person for)\b",
         "responsible for"),
        (r"^who (?:takes care of|looks after|is taking care of|is looking after)\b", "who is responsible for"),
        (r"^which person\b|^which employee\b", "who"),
        (r"^(?:how much (?:does|do|would|will)|what (?:does|do|would|will)) (.+) cost(?: me| us)?$",
         r"what is the price of \1"),
        (r"^how much (?:is|are) (?=(?:the|a|an) )", "what is the price of "),
        (r"^what is the cost of ", "what is the price of "),
        (rf"^how high (?:is|are) the (?=(?:{_HIGH})\b)", "what is the "),
        (rf"^how high was the (?=(?:{_HIGH})\b)", "what was the "),
        (r"^how (?:hot|warm|cold) is it in ", "what is the temperature in "),
        (r"^how (?:hot|warm|cold) was it in ", "what was the temperature in "),
        *(
            (rf"^how {adjective} (is|are|was|were) (?!it )", rf"what \1 the {noun} of ")
            for adjective, noun in _MEASURES.items()
        ),
        (r"^(?:how much|what) (?:does|do) (.+) weigh$", r"what is the weight of \1"),
        (rf"^which ({_VALUED}) (?:does|do|has) (.+?)(?: have)?$", r"what is the \1 of \2"),
        (rf"^which ({_VALUED}) (?:is|are) (?=(?:the|our|my) )", r"what is the \1 of "),
        (rf"^which ({_VALUED}) is it in ", r"what is the \1 in "),
        (r"^what (?:does|do) (.+) (?:mean|stand for|signify)$", r"what is the meaning of \1"),
        (r"^what is meant by ", "what is the meaning of "),
        (r"^what is (.+) called$", r"what is the name of \1"),
        (r"^what is the purpose of (.+)$", r"what is \1 used for"),
        (r"^what is (.+)(?<! used) for$", r"what is \1 used for"),
        (r"^how does (.+) differ from ", r"what is the difference between \1 and "),
        (r"^how do (.+) and (.+) differ$", r"what is the difference between \1 and \2"),
        (r"^how (does|do) (.+) (?:function|operate)$", r"how \1 \2 work"),
        (r"^what is (?:needed|required|necessary) (?=to|for)", "what is necessary "),
        (r"^when (?:is|are) (.+) open$", r"what is the opening_hours of \1"),
        (r"^how long (?:does|will) it take (?:me |us |you )?to |^how long (?:do|will) (?:i|we|you) (?:need|take) to ",
         "how long take to "),
    )
)  # fmt: skip
DUTIES: Final = re.compile(
    r"^(?:do (?:i|we|you) (?:have|need) to|(?:must|need) (?:i|we|1)|have (?:i|we) got to"
    r"|am i (?:necessary|obliged) to|are we (?:necessary|obliged) to"
    r"|is it (?:necessary|mandatory|compulsory|obligatory) (?:to|for (?:me|us) to)) "
)
"""Only where nothing is negated: what one must not do is forbidden, what one need not do is not."""
FRONTED: Final = re.compile(
    r"^\s*(?P<place>(?:in|on|at|for|during|inside|under|with|before|after|from|between)\b[^,?.!]{2,60}?),\s*"
    r"(?P<asked>(?:what|which|who|when|where|why|how|is|are|was|were|do|does|did|can|may|must|should|will)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)
"""`In room 3, what is the temperature?`"""
STATING: Final = re.compile(
    r"^\s*(?:(?:(?:please|kindly|also)\s+)*"
    r"(?:note|remember|be aware|keep in mind|do not forget|don't forget|be advised)"
    r"(?:\s+that\b|\s*[:,])\s*"
    r"|(?:fyi|by the way|as a reminder|reminder|important|attention|also|so|okay|hi|hello|hey)\s*[:,!]\s*)+",
    re.IGNORECASE,
)
"""Before what is said, as it is written."""
