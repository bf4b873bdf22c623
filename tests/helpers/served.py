"""A policy server, or a foreign one, on a thread of its own; and the small policy that it serves."""

import asyncio
import threading

from agents.settings import FlowConfig

FLOW = FlowConfig(width=16, chunk=4, execute=2)


class Running:
    """Serves `handler` (or a PolicyServer) on a thread of its own until the block ends."""

    def __init__(self, server=None, handler=None, port=0):
        self.server, self.handler, self.port = server, handler, port

    def __enter__(self):
        ready = threading.Event()

        def started(port):
            self.port = port
            ready.set()

        async def foreign():
            from websockets.asyncio.server import serve

            async with serve(self.handler, "127.0.0.1", self.port) as server:
                started(next(iter(server.sockets)).getsockname()[1])
                await asyncio.get_running_loop().create_future()

        def run():
            self.loop = asyncio.new_event_loop()
            job = foreign() if self.server is None else self.server.run(started)
            self.task = self.loop.create_task(job)
            try:
                self.loop.run_until_complete(self.task)
            except asyncio.CancelledError:
                pass

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(20)
        return self

    def stop(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.task.cancel)
            self.thread.join(10)

    def __exit__(self, *error):
        self.stop()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"
