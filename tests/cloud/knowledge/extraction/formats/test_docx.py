"""Word documents: what a reader sees of them, in order, and nothing that is not shown."""

from docx.document import Document as WordDocument

from cloud.knowledge.extraction import Extractor
from tests.cloud.knowledge.extraction.files import WORD, with_part, word, word_of
from tests.cloud.knowledge.extraction.shown import blocks, notices


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t xml:space='preserve'>{text}</w:t></w:r>"


def paragraph(content: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{content}</w:p>"


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(run(text))}</w:tc>"


def test_headings_paragraphs_lists_and_tables_of_a_real_document(extractor: Extractor) -> None:
    def manual(document: WordDocument) -> None:
        document.core_properties.title = "Pump manual"
        document.add_heading("Cleaning", 1)
        document.add_paragraph("Close valve V2 first.")
        for step in ("Open the drain.", "Wait."):
            document.add_paragraph(step, style="List Bullet")
        for step in ("Rinse.", "Dry."):
            document.add_paragraph(step, style="List Number")
        document.add_heading("Parts", 2)
        table = document.add_table(2, 2)
        for at, text in enumerate(("Part", "Price", "Seal", "12 | 50")):
            table.cell(at // 2, at % 2).text = text

    found = extractor.extract("pump.docx", word(manual))
    assert found.document.title == "Pump manual"
    assert blocks(found) == [
        ("heading 1", "Cleaning"),
        ("paragraph", "Close valve V2 first."),
        ("list", "- Open the drain.\n- Wait.\n1. Rinse.\n2. Dry."),
        ("heading 2", "Parts"),
        ("table", "| Part | Price |\n| --- | --- |\n| Seal | 12 \\| 50 |"),
    ]
    assert {block.page for block in found.document.blocks} == {None}


def test_title_style_names_the_document(extractor: Extractor) -> None:
    content = word(lambda document: document.add_heading("Pump P-100", 0))
    assert extractor.extract("a.docx", content).document.title == "Pump P-100"


def test_cells_merged_downwards_count_for_each_row(extractor: Extractor) -> None:
    rows = [
        cell("Pump", "<w:vMerge w:val='restart'/>") + cell("Seal"),
        cell("", "<w:vMerge/>") + cell("Ring"),
        cell("All", "<w:gridSpan w:val='2'/>"),
    ]
    table = "".join(f"<w:tr>{row}</w:tr>" for row in rows)
    assert blocks(extractor.extract("a.docx", word_of(f"<w:tbl>{table}</w:tbl>"))) == [
        ("table", "| Pump | Seal |\n| --- | --- |\n| Pump | Ring |\n| All |  |"),
    ]


def test_table_of_one_cell_is_a_frame_around_paragraphs(extractor: Extractor) -> None:
    frame = f"<w:tbl><w:tr>{cell('Warning: hot.')}</w:tr></w:tbl>"
    assert blocks(extractor.extract("a.docx", word_of(frame))) == [("paragraph", "Warning: hot.")]


def test_tracked_changes_are_read_as_they_will_be(extractor: Extractor) -> None:
    body = paragraph(
        run("Close ")
        + f"<w:ins>{run('both valves')}</w:ins>"
        + "<w:del><w:r><w:delText>the valve</w:delText></w:r></w:del>"
        + f"<w:moveFrom>{run('elsewhere')}</w:moveFrom>"
    )
    assert blocks(extractor.extract("a.docx", word_of(body))) == [("paragraph", "Close both valves")]


def test_hidden_text_and_field_codes_are_not_read(extractor: Extractor) -> None:
    body = paragraph(
        run("Seen")
        + run(" unseen orders", "<w:vanish/>")
        + run(" again", "<w:vanish w:val='0'/>")
        + "<w:r><w:instrText>HYPERLINK evil</w:instrText></w:r>"
    )
    found = extractor.extract("a.docx", word_of(body))
    assert blocks(found) == [("paragraph", "Seen again")]
    assert notices(found) == {"hidden_text_skipped": len("unseen orders")}


def test_content_controls_text_boxes_and_notes_are_read(extractor: Extractor) -> None:
    box = f"<w:pict><w:txbxContent>{paragraph(run('In the box.'))}</w:txbxContent></w:pict>"
    body = f"<w:sdt><w:sdtContent>{paragraph(run('Controlled.'))}</w:sdtContent></w:sdt>" + paragraph(
        run("With a box.") + f"<w:r>{box}</w:r>"
    )
    notes = f"<w:footnote w:type='separator'>{paragraph(run('line'))}</w:footnote>"
    notes += f"<w:footnote w:id='1'>{paragraph(run('A note.'))}</w:footnote>"
    content = with_part(
        word_of(body), "word/footnotes.xml", f"<w:footnotes xmlns:w='{WORD}'>{notes}</w:footnotes>"
    )
    relation = "<Relationship Id='r9' Type='x/footnotes' Target='footnotes.xml'/>"
    content = with_part(content, "word/_rels/document.xml.rels", f"<Relationships>{relation}</Relationships>")
    assert blocks(extractor.extract("a.docx", content)) == [
        ("paragraph", "Controlled."),
        ("paragraph", "With a box."),
        ("paragraph", "In the box."),
        ("paragraph", "A note."),
    ]


def test_headings_by_outline_level_and_inherited_style(extractor: Extractor) -> None:
    def styled(document: WordDocument) -> None:
        style = document.styles.add_style("House heading", 1)
        style.base_style = document.styles["Heading 3"]
        document.add_paragraph("By style", style=style)
        document.add_paragraph("Plain")

    assert blocks(extractor.extract("a.docx", word(styled))) == [
        ("heading 3", "By style"),
        ("paragraph", "Plain"),
    ]
    own = word_of(paragraph(run("By itself"), "<w:outlineLvl w:val='1'/>"))
    assert blocks(extractor.extract("a.docx", own)) == [("heading 2", "By itself")]


def test_lists_in_lists_are_indented(extractor: Extractor) -> None:
    def item(text: str, depth: int) -> str:
        number = f"<w:numPr><w:ilvl w:val='{depth}'/><w:numId w:val='1'/></w:numPr>"
        return paragraph(run(text), number)

    body = item("one", 0) + item("inner", 1) + item("two", 0)
    assert blocks(extractor.extract("a.docx", word_of(body))) == [("list", "- one\n  - inner\n- two")]
