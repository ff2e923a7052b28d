"""The key-value stores that process groups are formed by: one a generation, gone with it."""

import asyncio
from typing import Any

from agent.launch.plan import Message


class Stores:
    """Values by generation and key; a wait ends with its generation."""

    def __init__(self) -> None:
        self._oldest = 0
        self._values: dict[int, dict[str, Any]] = {}
        self._waits: dict[tuple[int, str], asyncio.Future[Any]] = {}

    def over(self, generation: int) -> None:
        """End all generations before this one."""
        self._oldest = generation
        self._values = {each: kept for each, kept in self._values.items() if each >= generation}
        for (of, key), wait in [*self._waits.items()]:
            if of < generation:
                wait.set_result({"over": True})
                del self._waits[of, key]

    async def ask(self, message: Message) -> Message:
        """Do what a worker asks: set, get (waits), add, has, delete."""
        generation, key = message["generation"], message["key"]
        if generation < self._oldest:
            return {"over": True}
        values = self._values.setdefault(generation, {})
        if message["op"] == "get" and key not in values:
            return await self._wait(generation, key)
        return {"value": self._do(generation, key, message)}

    def _do(self, generation: int, key: str, message: Message) -> Any:
        values = self._values[generation]
        match message["op"]:
            case "set":
                return self._set(generation, key, message["value"])
            case "add":
                self._set(generation, key, values.get(key, 0) + message["amount"])
            case "has":
                return key in values
            case "delete":
                return values.pop(key, None) is not None
        return values[key]

    async def _wait(self, generation: int, key: str) -> Message:
        loop = asyncio.get_running_loop()
        wait = self._waits.setdefault((generation, key), loop.create_future())
        answer: Message = await asyncio.shield(wait)
        return answer

    def _set(self, generation: int, key: str, value: Any) -> None:
        self._values[generation][key] = value
        if wait := self._waits.pop((generation, key), None):
            wait.set_result({"value": value})
