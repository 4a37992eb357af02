"""A dozen languages through every format, and through the encodings that their texts come in."""

import pytest

from cloud.knowledge.extraction import Extractor
from tests.cloud.knowledge.extraction.files import rows_book, word
from tests.cloud.knowledge.extraction.shown import blocks, notices, refusal

TEXTS = {
    "arabic": "يجب تنظيف المضخة كل ٣٠ يومًا (صمام V2).",
    "chinese": "水泵每月清洗一次。先关闭阀门。",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "german": "Die Pumpe muß jährlich geprüft werden.",
    "greek": "Η αντλία πρέπει να καθαρίζεται κάθε μήνα.",
    "hebrew": "יש לנקות את המשאבה (פעם בחודש) V2.",
    "hindi": "पंप को हर महीने साफ करना चाहिए।",
    "japanese": "ポンプは毎月清掃してください。",
    "khmer": "ត្រូវ\u200bសម្អាត\u200bស្នប់\u200bរៀងរាល់\u200bខែ។",
    "korean": "펌프는 매달 청소해야 합니다.",
    "persian": "پمپ را می\u200cبایست هر ماه تمیز کرد.",
    "russian": "Насос следует чистить раз в месяц.",
    "thai": "ควรทำความสะอาดปั๊มทุกเดือน",
    "turkish": "Pompayı her ay temizleyin ığüşöçİ.",
    "vietnamese": "Máy bơm phải được làm sạch hàng tháng.",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_survives_every_format(extractor: Extractor, text: str) -> None:
    for name, content in (
        ("a.txt", text.encode()),
        ("a.md", text.encode("utf-16")),
        ("a.html", f"<meta charset=utf-8><p>{text}".encode()),
        ("a.csv", f"{text}\n".encode("utf-8-sig")),
        ("a.xlsx", rows_book([[text]])),
        ("a.docx", word(lambda document: document.add_paragraph(text))),
    ):
        found = extractor.extract(name, content)
        assert blocks(found)[-1][1].strip("| ") == text
        assert found.notices == ()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_in_all_its_encodings(extractor: Extractor, encoding: str) -> None:
    text = "The pump: насос, 2026."
    assert blocks(extractor.extract("a.txt", text.encode(encoding))) == [("paragraph", text)]


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("russian", "cp1251"), ("czech", "cp1250"), ("german", "cp1252"), ("greek", "cp1253"), ("arabic", "cp1256"),
        ("japanese", "cp932"), ("chinese", "gb18030"), ("korean", "cp949"),
    ],
)  # fmt: skip
def test_older_encodings_are_guessed_and_said_to_be(
    extractor: Extractor, language: str, encoding: str
) -> None:
    text = TEXTS[language].replace("٣٠", "30").replace("ً", "")
    found = extractor.extract("a.txt", text.encode(encoding))
    assert blocks(found) == [("paragraph", text)]
    assert notices(found) == {"encoding_guessed": 1}


def test_text_that_is_not_what_its_mark_says_is_broken(extractor: Extractor) -> None:
    assert refusal(extractor, "a.txt", b"\xef\xbb\xbf\xff\xff\xff") == "file_broken"
    assert refusal(extractor, "a.txt", b"\xff\xfea") == "file_broken"


@pytest.mark.slow
def test_hidden_characters_are_removed_in_every_format_and_counted(extractor: Extractor) -> None:
    text = "safe\u202etxt\u200bend"
    for name, content in (
        ("a.txt", text.encode()),
        ("a.md", text.encode()),
        ("a.html", "<meta charset=utf-8><title>\u202ex</title><p>safe&#x202e;txt&#8203;end".encode()),
        ("a.csv", text.encode()),
        ("a.xlsx", rows_book([[text]])),
        ("a.docx", word(lambda document: document.add_paragraph(text))),
    ):
        found = extractor.extract(name, content)
        assert blocks(found)[-1][1].strip("| ") == "safetxtend"
        assert notices(found) == {"hidden_characters_removed": 2}
        assert found.document.title.isprintable()
