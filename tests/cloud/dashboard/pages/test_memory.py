"""The page of what the fleet has learned: who says what, what is against it, how to decide; live as well."""

import pytest
from playwright.async_api import expect
from sqlmodel import Session

from cloud.journal.repository import insert_blobs
from cloud.memory.documents import item_id, key_digest
from cloud.memory.tables import MemoryItem
from shared.blobs import Blob
from shared.memory.items import Fact
from tests.cloud.dashboard.hostile import HOSTILE
from tests.cloud.dashboard.pages.browser import NEWS_MS, HubPage, PageHub, change, now
from tests.cloud.dashboard.rows import add_device, principal_of
from tests.support.device import task_id_from

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATH = "memory"


def propose(session: Session, device: str, value: str, *, labels: tuple[str, ...] = ()) -> str:
    """That the fridge's limit is `value`; the hub's id of it."""
    fact = Fact(subject="fridge", relation="limit", value=value)
    blob = Blob(salt=f"{device:<16}".encode()[:16], content=fact.encode())
    principal = principal_of(device)
    add_device(session, device, now=now(), labels={})
    insert_blobs(session, principal, [blob])
    key = item_id(principal, task_id_from("limit"))
    session.add(
        MemoryItem(
            id=key, tenant="main", principal=principal, item=task_id_from("limit"), sort="fact", scope="fleet",
            by="person", labels=list(labels), content_hash=blob.ref().hash, key_digest=key_digest(fact),
            written_at=now(), state="proposed", noticed_at=now(), lane_id=1, seq=1,
        )
    )  # fmt: skip
    session.flush()
    return key


async def test_an_empty_page_says_what_will_be_there(hub: PageHub, page: HubPage) -> None:
    await page.sign_in(PATH)
    await expect(page.part("waiting")).to_contain_text("Nothing waits")


async def test_what_waits_comes_by_itself_and_goes_when_it_is_decided(hub: PageHub, page: HubPage) -> None:
    await page.sign_in(PATH)
    await page.wait_live()
    keys: list[str] = []
    await change(hub, lambda session: keys.append(propose(session, "fridge-1", "8 °C", labels=("patient",))))
    row = page.part("waiting").locator(f'[data-item="{keys[0]}"]')
    await expect(row).to_contain_text("fridge, limit: 8 °C", timeout=NEWS_MS)
    await expect(row.locator('[data-label="Labels"]')).to_have_text("patient")
    await change(hub, lambda session: keys.append(propose(session, "fridge-2", "12 °C")))
    await expect(row.locator('[data-label="Against it"]')).to_have_text(
        "fridge-2 says 12 °C", timeout=NEWS_MS
    )
    await expect(page.part("waiting")).to_contain_text("covey-hub memory approve")

    def approve(session: Session) -> None:
        item = session.get_one(MemoryItem, keys[0])
        item.state, item.decided_by, item.decided_at = "approved", "ben", now()

    await change(hub, approve)
    approved = page.part("approved").locator(f'[data-item="{keys[0]}"]')
    await expect(approved.locator('[data-label="By"]')).to_have_text("ben", timeout=NEWS_MS)
    await expect(row).to_have_count(0)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_words_of_an_item_are_shown_as_text(hub: PageHub, page: HubPage, name: str) -> None:
    await change(hub, lambda session: propose(session, "fridge-1", HOSTILE[name]))
    await page.sign_in(PATH)
    await expect(page.part("waiting").locator('[data-label="Says"]')).to_contain_text("fridge, limit:")
    await page.wait_live()
