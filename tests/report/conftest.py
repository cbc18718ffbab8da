"""The cards that every renderer's tests share; `cards` builds them."""

import pytest

from sharpaudit.card import Card
from tests.report import cards


@pytest.fixture(scope="session")
def full() -> Card:
    return cards.full()


@pytest.fixture(scope="session")
def minimal() -> Card:
    return cards.minimal()


@pytest.fixture(params=cards.PAYLOADS, ids=lambda payload: ascii(payload[:24]))
def hostile(request: pytest.FixtureRequest) -> Card:
    """One card for each payload, which stands in all its foreign names."""
    return cards.hostile(request.param)
