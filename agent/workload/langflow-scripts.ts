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

/** What `langflow run` imports, and then what the first flow that runs would: 0.2 to 1.4 s. Another version may not have that. */
const IMPORTS = `
    from langflow.langflow_launcher import main
    import langflow.__main__, langflow.main, langflow.server
    for tracer in "arize_phoenix langfuse langsmith langwatch native openlayer opik traceloop".split():
        try:
            __import__("langflow.services.tracing." + tracer)
        except Exception:
            pass
    del tracer`

/**
 * What the interpreter of a warm standby runs, with the descriptor of its link and the first entry of `sys.path` as
 * arguments. It imports what `langflow run` imports, says "ready", and waits for one line: the environment of a
 * term. Then it goes on as LangFlow's own command does. Its end of the link closes with the launcher, and then it ends, also
 * in the middle of an import. Of an error it tells the kind alone, since messages may hold secrets: its traceback is in
 * LangFlow's own output.
 */
export const WARM_SCRIPT = `
import sys
sys.path[0] = sys.argv[2] # before any import: it was the current directory
import gc, json, os, socket, threading
link = socket.socket(fileno=int(sys.argv[1]))
link.set_inheritable(False)
argv = sys.argv[3:]
order, given = [], threading.Event()

def listen():
    line = link.makefile().readline()
    if not line.endswith("\\n"):
        os._exit(0)
    order.append(json.loads(line))
    given.set()

listener = threading.Thread(target=listen, daemon=True)
listener.start()
try:${IMPORTS}
except BaseException as error:
    what = error.name if isinstance(error, ImportError) else ""
    link.sendall(f"{type(error).__name__} {what or ''}".strip().encode() + b"\\n")
    raise
gc.collect()
gc.freeze()
link.sendall(b"ready\\n")
given.wait()
listener.join()
link.close()
os.environ.update(order[0])
sys.argv = argv
${CUT_OFF}
del gc, json, socket, threading, link, listener, listen, given, order, argv
sys.exit(main())
`
