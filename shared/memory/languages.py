"""What in some languages points at a time, or at something that was said before. Data. Pure.

By its words alone a question in these languages is told from one in a language that nobody thought of. What leans in
English stands in `sameness`.
"""

from typing import Final

from shared.memory.words import words_of

FUNCTION_WORDS: Final = frozenset(
    words_of(
        """
        a an the of in on at to for with by from is are am was were be do does did has have had will would can could may
        might must shall should what which who whom whose when where why how and or not
        der die das den dem des ein eine einen einem einer und oder nicht ist sind war waren hat haben hatte wird werden
        kann können darf dürfen muss müssen soll wer wen wem wessen wann wo woher wohin warum wieso weshalb wie welche
        welcher welches welchen im am zum zur bei mit von für
        le la les un une des du et ou est sont était a ont peut doit faut qui que quoi quel quelle quels quelles quand
        où pourquoi comment combien dans avec pour sur au aux
        el los las una unos del y es son era hay tiene tienen puede debe quién qué cuál cuáles cuándo dónde cómo cuánto
        cuántos cuántas con para por
        il lo gli i uno di della dello dei delle e è sono era ha hanno può deve chi cosa che quale quali quando dove
        perché come quanto quanti nel nella con per
        de het een en of niet zijn heeft hebben kan mag moet wie wat welke wanneer waar waarom hoe hoeveel van voor met
        o os as um uma do da dos das e ou é são foi tem têm pode deve quem que qual quais quando onde como quanto no na
        """
    )
)
ENGLISH: Final = frozenset(
    words_of(
        "the what which who whom whose where when why how does did are were have has would could should with from"
    )
)
"""Words that no sentence in one of the other languages holds."""
OTHERS: Final = frozenset(
    words_of(
        """
        der die das den dem des ein eine einen einem einer und oder nicht ist sind hat haben hatte wird werden kann
        können darf dürfen muss müssen soll wer wen wem wessen wann wo woher wohin warum wieso weshalb wie welche
        welcher welches welchen im zum zur bei mit von für
        le la les une des du et ou est sont était ont peut doit faut qui que quoi quel quelle quels quelles quand où
        pourquoi comment combien dans avec pour sur aux
        el los las una unos del y es son hay tiene tienen puede debe quién qué cuál cuáles cuándo dónde cómo cuánto
        cuántos cuántas para por
        il gli uno di della dello dei delle è sono ha hanno può deve chi cosa che quale quali quando dove perché quanto
        quanti nel nella
        de het een en niet zijn heeft hebben kunnen moet welke wanneer waar waarom hoe hoeveel van voor
        os dos das são foi tem têm pode quem qual quais onde
        """
    )
)
"""What tells one of the other languages, unless a word of `ENGLISH` stands beside it."""
GERMAN_ASKING: Final = (
    "wer wen wem wessen was wann wo wohin woher wie wieso warum welche welcher welches welchen seit bis ab von vor nach"
    " um am im in uhr der die das den dem des ein eine ist sind war waren wird werden wurde sein hat hatte hoch lange"
    " viel viele früher vorher zuvor davor damals jetzt heute gestern vorgestern morgen geändert verändert sich es"
)
"""Words of asking and of time: they name nothing that is asked about."""
LEANING: Final = frozenset(
    words_of(
        """
        heute gestern vorgestern übermorgen jetzt gerade momentan derzeit aktuell nun eben vorhin bald neulich kürzlich
        es er sie ihn ihm ihr ihnen dies diese dieser dieses diesen diesem jene jener jenes dort dann davor danach dazu
        darüber damit davon dabei dafür letzte letzten letzter letztes nächste nächsten nächster nächstes vorige vorigen
        wieder noch schon morgen
        aujourd'hui hier demain avant-hier après-demain maintenant actuellement ce cet cette ces cela ça il elle ils
        elles celui celle ceux celles là alors dernier dernière derniers dernières prochain prochaine encore déjà
        soir matin
        hoy ayer mañana anteayer ahora actualmente esto eso esta este estas estos ese esa esos esas él ella ellos ellas
        allí entonces último última próximo próxima pasado pasada todavía ya otra otro noche
        oggi ieri domani dopodomani adesso ora attualmente questo questa questi queste quello quella lui lei loro lì
        allora ultimo ultima prossimo prossima scorso scorsa ancora già stasera stamattina
        vandaag gisteren morgen overmorgen nu momenteel dit dat deze hij zij ze hem haar daar toen vorige volgende
        laatste weer nog vanavond vanmorgen
        hoje ontem amanhã agora atualmente isto isso este esta esse essa ele ela eles elas lá então último última
        próximo próxima passado passada ainda já
        """
    )
)
