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
 * Starts LangFlow as its own command does, with everything imported before its first request. Arguments: the first entry
 * of `sys.path`, and what \`sys.argv\` would be.
 */
export const IMPORTED_SCRIPT = `
import sys
sys.path[0] = sys.argv[1]
argv = sys.argv[2:]
if True:${IMPORTS}
sys.argv = argv
del argv
sys.exit(main())
`

/**
 * What the interpreter of a prewarmed standby runs, with the descriptor of its link and the first entry of `sys.path` as
 * arguments. It imports what `langflow run` imports, says "ready", and waits for one line: the environment of a
 * term. Then it goes on as LangFlow's own command does. Its end of the link closes with the launcher, and then it ends, also
 * in the middle of an import. Of an error it tells the kind alone, since messages may hold secrets: its traceback is in
 * LangFlow's own output.
 */
export const PREWARM_SCRIPT = `
import gc, json, os, socket, sys, threading
link = socket.socket(fileno=int(sys.argv[1]))
link.set_inheritable(False)
sys.path[0] = sys.argv[2]
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
del gc, json, socket, threading, link, listener, listen, given, order, argv
sys.exit(main())
`
