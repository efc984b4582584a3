from datetime import UTC, datetime

from db.jobs import Lease, lease_time
from worker.reconcile import Watch

UNTIL = datetime(2030, 1, 1, tzinfo=UTC)
HELD = Lease(1, "worker-1", 1)
PATIENCE = lease_time().total_seconds()


def test_a_lease_that_is_renewed_never_dies_whatever_the_wall_clocks_say() -> None:
    watch = Watch()
    for number, at in enumerate((0.0, PATIENCE - 1, 2 * PATIENCE - 2)):
        assert watch.dead({HELD: UNTIL.replace(year=2000 + 9 * number)}, at) == []


def test_a_lease_that_stands_still_dies_after_its_time_whatever_it_says_of_itself() -> None:
    watch = Watch()
    assert watch.dead({HELD: UNTIL}, 0.0) == []
    assert watch.dead({HELD: UNTIL}, PATIENCE) == []
    assert watch.dead({HELD: UNTIL}, PATIENCE + 1) == [HELD]


def test_a_new_holder_has_its_whole_time() -> None:
    watch, again = Watch(), Lease(1, "worker-1", 2)
    watch.dead({HELD: UNTIL}, 0.0)
    assert watch.dead({again: UNTIL}, PATIENCE + 1) == []
    assert watch.dead({again: UNTIL}, 2 * PATIENCE + 2) == [again]


def test_after_an_outage_every_holder_has_its_whole_time_anew() -> None:
    watch = Watch()
    watch.dead({HELD: UNTIL}, 0.0)
    watch.forget()
    assert watch.dead({HELD: UNTIL}, PATIENCE + 1) == []
    assert watch.dead({HELD: UNTIL}, 2 * PATIENCE + 2) == [HELD]
