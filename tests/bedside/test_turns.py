"""Turns at the engine go round, however eager one source is."""

import threading

import pytest

from bedside.turns import Turns


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    turns, served = Turns(), []

    def take(name: int) -> None:
        with turns.turn():
            served.append(name)

    with turns.turn():
        threads = []
        for name in range(5):
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            while len(turns._queue) < name + 2:
                pass
    for thread in threads:
        thread.join()

    assert served == [0, 1, 2, 3, 4]


def test_nobody_waits_for_two_turns_of_another() -> None:
    """Each asks anew as soon as it was served, as sources do with their next frame."""
    turns, served, everyone = Turns(), [], threading.Barrier(3)

    def take(name: int) -> None:
        everyone.wait()
        for _ in range(200):
            with turns.turn():
                served.append(name)
                # The others ask meanwhile, as they do while an engine computes.
                while len(turns._queue) < min(3, 600 - len(served)) and running == 3:
                    pass
        leave()

    running = 3

    def leave() -> None:
        nonlocal running
        running -= 1

    threads = [threading.Thread(target=take, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    rounds = [set(served[start : start + 3]) for start in range(0, 540, 3)]
    assert rounds == [{0, 1, 2}] * len(rounds)


def test_a_turn_that_fails_is_passed_on() -> None:
    turns = Turns()

    with pytest.raises(ZeroDivisionError), turns.turn():
        raise ZeroDivisionError
    with turns.turn():
        pass
