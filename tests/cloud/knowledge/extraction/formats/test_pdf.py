"""PDF: pages, paragraphs, columns, headings, headers and footers, scripts; broken, locked and scanned ones."""

from cloud.knowledge.extraction import Extractor
from tests.cloud.knowledge.extraction.files import Drawn, paragraph, pdf, scanned_pdf
from tests.cloud.knowledge.extraction.shown import blocks, notices, refusal

LONG = "Close the valve before you open the drain and wait until the pressure is gone from both sides of the pump."


def test_lines_become_paragraphs_with_their_page(extractor: Extractor) -> None:
    content = pdf(
        [*paragraph(LONG, y=700), *paragraph("Then clean it.", y=640)], paragraph("Second page.", y=700)
    )
    found = extractor.extract("pump.pdf", content)
    assert blocks(found) == [
        ("paragraph", LONG),
        ("paragraph", "Then clean it."),
        ("paragraph", "Second page."),
    ]
    assert [block.page for block in found.document.blocks] == [1, 1, 2]
    assert found.media_type == "application/pdf"
    assert found.document.title == "pump"


def test_larger_letters_are_headings_and_the_title_is_the_files_own(extractor: Extractor) -> None:
    page = [
        Drawn("Pump manual", y=780, size=24),
        Drawn("Cleaning", y=740, size=16),
        *paragraph(LONG, y=700),
        Drawn("Storing", y=640, size=16),
        *paragraph(LONG, y=600),
    ]
    found = extractor.extract("a.pdf", pdf(page, title="Pump P-100"))
    assert [block for block in blocks(found) if block[0] != "paragraph"] == [
        ("heading 1", "Pump manual"),
        ("heading 2", "Cleaning"),
        ("heading 2", "Storing"),
    ]
    assert found.document.title == "Pump P-100"
    assert extractor.extract("a.pdf", pdf(page)).document.title == "Pump manual"


def test_outline_tells_headings_better_than_sizes(extractor: Extractor) -> None:
    page = [Drawn("BIG ADVERTISEMENT", y=780, size=30), Drawn("1.2 Cleaning", y=740), *paragraph(LONG, y=700)]
    found = extractor.extract("a.pdf", pdf(page, outline=[("Cleaning", 0), ("Nowhere", 0)]))
    assert blocks(found) == [
        ("paragraph", "BIG ADVERTISEMENT"),
        ("heading 1", "1.2 Cleaning"),
        ("paragraph", LONG),
    ]


def test_columns_are_read_one_after_the_other(extractor: Extractor) -> None:
    left = paragraph("In the left column stands what is read first, line for line.", x=72, chars=30)
    right = paragraph("In the right column stands what comes after that.", x=320, chars=30)
    found = extractor.extract("a.pdf", pdf([*left, *right]))
    assert blocks(found) == [
        ("paragraph", "In the left column stands what is read first, line for line."),
        ("paragraph", "In the right column stands what comes after that."),
    ]


def test_word_cut_at_the_end_of_a_line_is_whole_again(extractor: Extractor) -> None:
    page = [
        Drawn("The pump needs main-", y=700),
        Drawn("tenance each year, and an X-", y=688),
        Drawn("Ray of its weld.", y=676),
    ]
    (block,) = blocks(extractor.extract("a.pdf", pdf(page)))
    assert block == ("paragraph", "The pump needs maintenance each year, and an X-Ray of its weld.")


def test_repeated_headers_and_footers_are_left_out_and_counted(extractor: Extractor) -> None:
    pages = [
        [
            Drawn("ACME pumps", y=800),
            *paragraph(f"This is what page {number} says.", y=700),
            Drawn(f"Page {number} of 4", y=30),
        ]
        for number in range(1, 5)
    ]
    found = extractor.extract("a.pdf", pdf(*pages))
    assert [text for _, text in blocks(found)] == [
        f"This is what page {number} says." for number in range(1, 5)
    ]
    assert notices(found) == {"repeated_lines_removed": 8}


def test_lines_that_repeat_on_two_pages_stay(extractor: Extractor) -> None:
    found = extractor.extract("a.pdf", pdf(*([Drawn("Twice", y=800), Drawn(f"p{at}", y=700)] for at in "ab")))
    assert [text for _, text in blocks(found)] == ["Twice", "pa", "Twice", "pb"]


def test_bullets_are_a_list(extractor: Extractor) -> None:
    page = [Drawn("• one", y=700), Drawn("• two", y=688), *paragraph("After it.", y=650)]
    assert blocks(extractor.extract("a.pdf", pdf(page))) == [
        ("list", "- one\n- two"),
        ("paragraph", "After it."),
    ]


def test_right_to_left_text_is_in_reading_order_however_it_is_drawn(extractor: Extractor) -> None:
    hebrew, arabic = "שלום עולם 2024 (סוף)", "يجب تنظيف المضخة كل 30 يوم"
    drawn_hebrew = "(ףוס) 2024 םלוע םולש"
    drawn_arabic = "موي 30 لك ةخضملا فيظنت بجي"
    found = extractor.extract("a.pdf", pdf([Drawn(drawn_hebrew, y=700), Drawn(drawn_arabic, y=640)]))
    assert [text for _, text in blocks(found)] == [hebrew, arabic]


def test_right_to_left_words_within_a_line_of_another_script(extractor: Extractor) -> None:
    (block,) = blocks(extractor.extract("a.pdf", pdf([Drawn("Hello in Hebrew is םולש as they say")])))
    assert block[1] == "Hello in Hebrew is שלום as they say"


def test_chinese_and_japanese_lines_join_without_spaces(extractor: Extractor) -> None:
    page = [Drawn("水泵每月清洗一次先关", y=700), Drawn("闭阀门再打开排水口", y=688)]
    (block,) = blocks(extractor.extract("a.pdf", pdf(page)))
    assert block[1] == "水泵每月清洗一次先关闭阀门再打开排水口"


def test_scans_are_refused_and_said_to_be_scans(extractor: Extractor) -> None:
    assert refusal(extractor, "scan.pdf", scanned_pdf()) == "no_text"


def test_pages_without_text_among_others_are_counted(extractor: Extractor) -> None:
    found = extractor.extract("a.pdf", pdf(paragraph(LONG), []))
    assert notices(found) == {"pages_without_text": 1}


def test_password_is_asked_away(extractor: Extractor) -> None:
    assert refusal(extractor, "a.pdf", pdf(paragraph(LONG), password="secret")) == "file_encrypted"


def test_broken_pdf_is_refused(extractor: Extractor) -> None:
    assert refusal(extractor, "a.pdf", b"%PDF-1.7\nnothing follows") == "file_broken"
    assert refusal(extractor, "a.pdf", b"%PDF-1.7\n" + b"\xff" * 10_000) == "file_broken"


def test_pdf_whose_table_of_places_is_wrong_is_read_all_the_same(extractor: Extractor) -> None:
    content = pdf(paragraph(LONG)).replace(b"startxref\n", b"startxref\n9")
    assert blocks(extractor.extract("a.pdf", content)) == [("paragraph", LONG)]
