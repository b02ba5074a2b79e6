"""Work of one key waits for work of the same key only, and a key that nobody has is forgotten."""

import asyncio
import weakref

from shared.keyed_locks import KeyedLocks


async def test_one_key_goes_one_behind_the_other_and_others_beside_it():
    locks = KeyedLocks()
    said = []

    async def work(key, name, gate):
        async with locks.of(key):
            said.append(f"{name} in")
            await gate.wait()
        said.append(f"{name} out")

    gates = [asyncio.Event() for _ in range(3)]
    working = [
        asyncio.ensure_future(work(key, name, gate))
        for key, name, gate in zip(("a", "a", "b"), ("first", "second", "other"), gates, strict=True)
    ]
    await asyncio.sleep(0)
    assert said == ["first in", "other in"]
    for gate in gates:
        gate.set()
    await asyncio.gather(*working)
    assert said.index("first out") < said.index("second out")
    assert said.index("second in") > said.index("other in")


async def test_a_lock_lives_as_long_as_somebody_has_it():
    locks = KeyedLocks()
    lock = locks.of("a")
    async with locks.of("a"):
        assert locks.of("a") is lock
    gone = weakref.ref(lock)
    del lock
    assert gone() is None
    assert not locks.of("a").locked()
