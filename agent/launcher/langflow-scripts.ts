/**
 * LangFlow's worker (uvicorn) waits for requests without an end, and forced to end it skips what it holds back: rows, and the
 * leases of its triggers. With this a SIGINT that follows a SIGTERM cancels the requests, whose clients are answered 500 where
 * no answer has begun, and all else goes its usual way. What does not let itself be cancelled is left behind.
 */
export const CUT_OFF = `
def cut_off():
    try:
        import asyncio, signal
        from uvicorn.server import Server
        usual = Server.handle_exit
    except Exception:
        return
    def handle_exit(self, sig, frame):
        if sig != signal.SIGINT or not self.should_exit:
            return usual(self, sig, frame)
        loop, state = asyncio.get_running_loop(), self.server_state
        def cancel():
            for task in list(state.tasks):
                task.cancel()
            loop.call_later(0.2, forget)
        def forget():
            for connection in list(state.connections):
                connection.transport.abort()
            state.connections.clear()
            state.tasks.clear()
        loop.call_soon_threadsafe(cancel)
    Server.handle_exit = handle_exit
cut_off()
del cut_off
`

/**
 * Starts LangFlow as its own command does. Arguments: the first entry of `sys.path`, and what `sys.argv` would be: the path of a
 * script, or the name of a module.
 */
export const PLAIN_SCRIPT = `
import runpy, sys
sys.path[0] = sys.argv[1]
sys.argv = sys.argv[2:]
${CUT_OFF}
if "/" in sys.argv[0]:
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
`
