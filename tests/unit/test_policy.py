"""The policy against simulated machines: seconds are what the test sets."""

from __future__ import annotations

import numpy as np

from mlx_gemma4.generation.policy import LONGEST, Policy


class Machine:
    """Draws tokens, as a model and a drafter of fixed skill would, and counts seconds."""

    def __init__(self, chance: float, draft: float, row: float = 0.1, noise: float = 0.0) -> None:
        """A forward takes 1 second and `row` for each row more; a draft takes `draft`."""
        self.chance, self.draft, self.row, self.noise = chance, draft, row, noise
        self.now, self.given, self.load = 0.0, 0, 1.0
        self.rng = np.random.default_rng(0)
        self.policy = Policy(["drafter"])
        self.counts: list[int] = []

    def reply(self, tokens: int) -> float:
        """Draw so many tokens; tokens a second."""
        started, given = self.now, 0
        plain = False
        while given < tokens:
            chosen = self.policy.choose(["drafter"], tokens - given)
            name, count = chosen or (None, 0)
            accepted = 0
            while accepted < count and self.rng.random() < self.chance:
                accepted += 1
            seconds = 1 + count * (self.row + self.draft)
            seconds *= self.load * (1 + self.noise * self.rng.standard_normal())
            self.now += seconds
            # how long the first plain one after others takes is not known
            self.policy.observe(name, count, accepted, seconds if count or plain else None)
            plain = not count
            self.counts.append(count)
            given += accepted + 1
        return given / (self.now - started)


def test_a_good_drafter_is_used_at_full_length() -> None:
    machine = Machine(chance=0.97, draft=0.05)
    machine.reply(100)
    assert machine.reply(400) > 3  # six of seven in 1.9 s
    assert sorted(machine.counts[-60:])[30] == LONGEST


def test_a_bad_drafter_costs_less_than_a_twentieth() -> None:
    for noise in (0.0, 0.2):
        machine = Machine(chance=0.02, draft=0.3, noise=noise)
        machine.reply(60)
        rates = [machine.reply(100) for _ in range(5)]
        assert np.mean(rates) > 0.95


def test_a_slow_drafter_that_is_often_right_is_left_alone() -> None:
    machine = Machine(chance=0.8, draft=1.5)
    machine.reply(60)
    assert machine.reply(500) > 0.95


def test_a_drafter_that_is_right_about_half_the_time_proposes_little() -> None:
    machine = Machine(chance=0.55, draft=0.05)
    machine.reply(100)
    rate = machine.reply(600)
    assert rate > 1.2
    assert 1 <= np.mean([count for count in machine.counts[-150:] if count]) <= 3.5


def test_a_change_of_the_text_is_noticed_both_ways() -> None:
    machine = Machine(chance=0.95, draft=0.1)
    machine.reply(300)
    machine.chance = 0.05
    machine.reply(60)
    assert machine.reply(400) > 0.93
    machine.chance = 0.95
    machine.reply(300)
    assert machine.reply(300) > 2


def test_a_machine_that_slows_down_under_wide_forwards_is_noticed() -> None:
    machine = Machine(chance=0.9, draft=0.05)
    machine.reply(300)
    machine.row = 2.0
    machine.reply(100)
    assert machine.reply(400) > 0.93


def test_another_program_that_comes_or_goes_changes_nothing_of_what_pays() -> None:
    machine = Machine(chance=0.97, draft=0.1)
    slow = Machine(chance=0.8, draft=1.5)
    for one in (machine, slow):
        one.reply(300)
    for load in (3.0, 1.0, 4.0, 1.0):
        machine.load = slow.load = load
        assert machine.reply(300) * load > 2.2  # 2.7 undisturbed
        assert slow.reply(300) * load > 0.93


def test_what_is_lost_is_small_however_often_the_text_changes() -> None:
    for period in (10, 20, 40, 80):  # as many tokens are all right, and as many all wrong
        machine = Machine(chance=0.95, draft=0.35, row=0.3)
        machine.reply(60)
        started, tokens = machine.now, 0
        while tokens < 2000:
            machine.chance = 1 - machine.chance
            machine.reply(period)
            tokens += period
        assert tokens / (machine.now - started) > 0.97


def test_what_would_have_been_accepted_ends_a_pause() -> None:
    policy = Policy(["lookup"])
    for _ in range(60):  # nothing is accepted
        name, count = policy.choose(["lookup"], 50) or (None, 0)
        policy.observe(name, count, 0, 1.0 + count / 10)
    assert policy.sources["lookup"].pause
    for _ in range(8):
        policy.unmade("lookup", LONGEST, LONGEST)
    assert policy.choose(["lookup"], 50) is not None


def test_no_more_is_proposed_than_there_is_room_for() -> None:
    policy = Policy(["drafter"])
    for _ in range(4):  # what a forward without proposals takes is known
        assert policy.choose(["drafter"], 2) is None
        policy.observe(None, 0, 0, 1.0)
    assert policy.choose(["drafter"], 2) == ("drafter", 2)
    assert policy.choose(["drafter"], 0) is None
    assert policy.choose([], 9) is None
