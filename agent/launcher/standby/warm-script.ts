import { CUT_OFF } from '../langflow-command.ts'

/**
 * What the interpreter of a warm standby runs, with the descriptor of its link and the first entry of `sys.path` as
 * arguments. It goes on as `langflow run` does until LangFlow's server would be made, says `{"ready": …}`, and waits for one
 * line: the environment of a term. Then it goes on. Its end of the link closes with the launcher, and then it ends, also in the
 * middle of an import. Of an error it tells the kind alone, since messages may hold secrets: its traceback is in LangFlow's
 * own output.
 *
 * Until then it acts nowhere: whatever would fork, bind, connect or change a file outside of the temporary directory is held
 * by an audit hook (PEP 578), and what is rehearsed is refused it. So a LangFlow in which something has moved waits earlier, and
 * is slower. What it relies on: docs/standby.md.
 *
 * The same hook sees what is read: `ready` tells each such path and what it was when it was first opened, for the launcher to
 * find out whether it is still that.
 */
export const WARM_SCRIPT = `
import sys
sys.path[0] = sys.argv[2] # before any import: it was the current directory

def warm_up():
    import gc, importlib.util, itertools, json, os, socket, tempfile, threading
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    argv = sys.argv[3:]
    go, after_go, left_out = threading.Event(), [], []
    is_ready = is_rehearsing = False
    writes_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    temporary = os.path.realpath(tempfile.gettempdir()) + os.sep

    def listen():
        line = link.makefile().readline()
        if not line.endswith("\\n"):
            os._exit(0)
        os.environ.update(json.loads(line))
        sys.dont_write_bytecode = writes_no_bytecode
        link.close()
        go.set()

    def say(**what):
        link.sendall(json.dumps(what).encode() + b"\\n")

    def hold(at):
        nonlocal is_ready
        if not is_ready:
            is_ready = True
            gc.collect()
            gc.freeze()
            if len(read) > MOST_READ:
                left_out.append(f"a look at all {len(read)} files that it has read")
            say(ready=True, at=at, without=left_out, read=dict(itertools.islice(read.items(), MOST_READ)))
        go.wait()
        listener.join()

    # 1. The backstop.

    acts = {
        "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.kill", "os.killpg", "subprocess.Popen", "pty.spawn",
        "socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
        "sqlite3.connect",
    }
    # The paths that are changed, each with the directory that it is relative to, or -1.
    changes = {
        "os.remove": lambda path, at: [(path, at)],
        "os.rmdir": lambda path, at: [(path, at)],
        "os.mkdir": lambda path, mode, at: [] if os.path.isdir(full(path, at)) else [(path, at)],
        "os.rename": lambda old, new, old_at, new_at: [(old, old_at), (new, new_at)],
        "os.link": lambda old, new, old_at, new_at: [(new, new_at)],
        "os.symlink": lambda old, new, at: [(new, at)],
        "os.truncate": lambda path, length: [(path, -1)],
        "os.chmod": lambda path, mode, at: [(path, at)],
        "os.chown": lambda path, uid, gid, at: [(path, at)],
        "os.utime": lambda path, times, ns, at: [(path, at)],
        "os.setxattr": lambda path, *args: [(path, -1)],
        "os.removexattr": lambda path, *args: [(path, -1)],
        "open": lambda path, mode, flags: [(path, -1)] if flags & writes else [],
    }
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def full(path, at):
        base = "" if at < 0 else os.readlink(f"/proc/self/fd/{at}")
        return os.path.realpath(os.path.join(base, os.fsdecode(path)))

    def is_outside(path, at):
        # An open file has been looked at when it was opened.
        return isinstance(path, (str, bytes, os.PathLike)) and not full(path, at).startswith((temporary, "/dev/"))

    def is_held(event, args):
        if event == "socket.bind":
            # Nobody looks for it at a port that is none in particular: urllib3 asks so whether there is IPv6.
            return not (isinstance(args[1], tuple) and args[1][1] == 0)
        changed = changes.get(event)
        return event in acts if changed is None else any(is_outside(*one) for one in changed(*args))

    class NotBeforeGo(Exception):
        pass

    def act(what):
        if is_rehearsing:
            raise NotBeforeGo(what)
        hold(what)

    def audit(event, args):
        if go.is_set():
            return
        if event == "open":
            remember(*args)
        if is_held(event, args):
            act(event)

    # 2. What is read, each with what it was before that; None: it was not there.

    read, MOST_READ = {}, 500

    def state_of(path):
        try:
            stat = os.stat(path)
        except OSError:
            return None
        return f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"

    def is_installation(directory):
        """Its own modification time tells of each package that comes or goes: its files are too many."""
        if (directory + os.sep).startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)):
            return True
        try:
            return any(name.endswith(".dist-info") for name in os.listdir(directory))
        except OSError:
            return False

    installations = [directory for directory in sys.path[1:] if is_installation(directory)]
    read.update((directory, state_of(directory)) for directory in installations)
    unwatched = (
        *(name + os.sep for directory in installations for name in (directory, os.path.realpath(directory))),
        temporary, "/dev/", "/proc/", "/sys/",
    )

    def remember(path, mode, flags):
        if flags & writes or not isinstance(path, (str, bytes, os.PathLike)):
            return
        try:
            path = os.path.abspath(os.fsdecode(path))
            if path.startswith(unwatched):
                return
            if path.endswith(".pyc"):
                path = importlib.util.source_from_cache(path)
            path.encode() # or nobody can be told of it
            if path not in read and not os.path.realpath(path).startswith(unwatched):
                read[path] = state_of(path)
        except (OSError, ValueError):
            pass

    # 3. What is done ahead. What is left out makes the start slower, and nothing else.

    def step(name, work, *args):
        nonlocal is_rehearsing
        is_rehearsing = True
        try:
            return work(*args)
        except BaseException as error:
            left_out.append(f"{name} ({type(error).__name__})")
        finally:
            is_rehearsing = False

    def asynchronously(work, *args):
        """In a thread of its own: the main one has no event loop before LangFlow makes it."""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(work(*args))).result()

    def remembering(work, key):
        known = {}
        def remembered(*args):
            at = key(*args)
            if at not in known:
                known[at] = work(*args)
            return known[at]
        return remembered

    def remember_missing():
        """Where a file of settings is looked for and there is none, none is opened."""
        here = os.path.abspath(".env")
        read.setdefault(here, state_of(here))
        import dotenv.main as dotenv
        walk = dotenv._walk_to_root
        def walk_to_root(path):
            for directory in walk(path):
                if not go.is_set():
                    file = os.path.join(directory, ".env")
                    read.setdefault(file, state_of(file))
                yield directory
        dotenv._walk_to_root = walk_to_root

    # What is imported by the start of a server, and by the first flow. Another version may not have all of them.
    later = {
        "langflow.services.tracing": "arize_phoenix langfuse langsmith langwatch native openlayer opik traceloop",
        "langflow.services": "audit.retention background_execution.factory background_execution.metrics_collector jobs.factory"
            " memory_base.factory task.audit_cleanup task.model_provider_policy_refresh",
        "langflow.services.triggers": "dispatcher factory scheduler source_runtime subscriptions",
        "langflow.api.utils.mcp": "agentic_mcp backfill",
        "langflow": "preload alembic.expand_compat alembic.warning_filters interface.importing.utils utils.security_posture",
        "lfx": "fork base.io.chat base.models.models_dev_catalog custom.legacy_storage_compat extension.migration.loader"
            " extension.migration.rewrite utils.python_repl_security",
        "uvicorn": "lifespan.on loops.asyncio protocols.http.auto protocols.websockets.auto",
        "gunicorn": "ctl.client ctl.handlers ctl.server",
        "sqlalchemy": "ext.asyncio dialects.postgresql.psycopg dialects.sqlite.aiosqlite",
        "opentelemetry.instrumentation": "sqlalchemy sqlcommenter_utils",
        "fastapi": "telemetry._runtime",
        "multiprocess": "popen_fork",
        "psycopg2": "extras",
    }

    def import_drivers():
        """psycopg looks for two libraries by starting programs; their names are the same everywhere."""
        import bcrypt, ctypes.util
        if importlib.util.find_spec("psycopg") is None:
            return
        usual, names = ctypes.util.find_library, {"pq": "libpq.so.5", "c": "libc.so.6"}
        def find_library(library):
            try:
                return ctypes.CDLL(names[library]) and names[library]
            except (KeyError, OSError):
                return usual(library)
        ctypes.util.find_library = find_library
        try:
            import psycopg
        finally:
            ctypes.util.find_library = usual

    def import_later():
        for package, modules in later.items():
            for module in modules.split():
                try:
                    __import__(f"{package}.{module}")
                except NotBeforeGo as error:
                    left_out.append(f"{package}.{module} ({error})")
                except Exception:
                    pass

    def answer_for_file():
        """\`platform.architecture\` asks the program \`file\`; who imports croniter wants the word size alone, which is known."""
        import platform
        usual = platform._syscmd_file
        platform._syscmd_file = lambda target, default="": usual(target, default) if go.is_set() else default

    def hold_database():
        """libpq connects without telling Python."""
        from sqlalchemy import Engine, event
        def do_connect(*_):
            if not go.is_set():
                act("a connection to the database")
        event.listen(Engine, "do_connect", do_connect)

    def put_off_checks():
        """What is asked before the server is made: PostgreSQL's version, and whether the port is free, which the launcher asks."""
        import langflow.__main__ as cli
        check, probe = cli.check_postgresql_version_sync, cli.is_port_in_use
        def check_version(url):
            if go.is_set():
                return check(url)
            after_go.append(lambda: check(url))
        cli.check_postgresql_version_sync = check_version
        cli.is_port_in_use = lambda *args, **more: go.is_set() and probe(*args, **more)

    def put_off_key():
        """LangFlow writes the key that it is given into a file of its own. One that it makes up is written at once, or held."""
        from lfx.services.settings import auth
        write = auth.write_secret_to_file
        def write_secret(path, value):
            if not go.is_set() and value == os.environ.get("LANGFLOW_SECRET_KEY"):
                after_go.append(lambda: write(path, value))
            else:
                write(path, value)
        auth.write_secret_to_file = write_secret

    def request_health(application):
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}
        async def send(message):
            pass
        asynchronously(application, {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/health", "raw_path": b"/health", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "state": {},
        }, receive, send)

    def remember_package_files():
        """Which files the installed packages have: LangFlow looks through all of them for extensions."""
        from importlib.metadata import Distribution
        Distribution.files = property(remembering(Distribution.files.fget, lambda self: str(self._path)))

    def rehearse_components():
        """
        Imports what LangFlow's own catalog of components is made of. The catalog is discarded: that of the term is made after go.
        Nothing of the user's components runs: a module that they import stays in the process with what it has read, begun or
        been refused, such as an environment without an epoch.
        """
        from langflow.services.deps import get_settings_service
        from langflow.services.utils import register_all_service_factories
        from lfx.interface.components import component_cache, get_and_cache_all_types_dict
        register_all_service_factories()
        service = get_settings_service()
        class WithoutUserComponents:
            settings = service.settings.model_copy(update={"components_path": []})
            def __getattr__(self, name):
                return getattr(service, name)
        before = dict(vars(component_cache))
        try:
            asynchronously(get_and_cache_all_types_dict, WithoutUserComponents(), None)
        finally:
            vars(component_cache).clear()
            vars(component_cache).update(before)

    def remember_manifests():
        """LangFlow looks through the file lists of all packages for extensions. They are looked at again where one comes or goes."""
        from lfx.extension.loader import _plugins
        find = remembering(_plugins._distribution_manifest_path, lambda distribution: str(distribution._path))
        _plugins._distribution_manifest_path = find

    def rehearse_flow():
        """Makes a graph that nobody runs: what the first of a process reads and parses is kept for all that follow."""
        from lfx.components.input_output import ChatInput, ChatOutput
        from lfx.graph import Graph
        heard = ChatInput(_id="ChatInput-rehearsal")
        said = ChatOutput(_id="ChatOutput-rehearsal").set(input_value=heard.message_response)
        flow = Graph(heard, said).dump(name="rehearsal")
        Graph.from_payload(flow["data"], flow_id="rehearsal", user_id="rehearsal")

    def remember_revisions():
        """Alembic loads each of LangFlow's revisions anew whenever it looks at a database."""
        import alembic.autogenerate.api, alembic.command, alembic.runtime.environment, alembic.util.pyfiles as pyfiles, langflow
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        load = pyfiles.load_module_py
        remembered = remembering(load, lambda name, path: str(path))
        def load_once(name, path):
            is_revision = os.path.basename(os.path.dirname(path)) == "versions"
            return (remembered if is_revision else load)(name, path)
        pyfiles.load_module_py = load_once
        config = Config()
        config.set_main_option("script_location", os.path.join(os.path.dirname(langflow.__file__), "alembic"))
        ScriptDirectory.from_config(config).get_heads()

    def compare_models_once():
        """LangFlow compares its models with the database twice in a row, also where the first look finds no difference."""
        import alembic.command
        check, passed = alembic.command.check, None
        def check_again(config):
            nonlocal passed
            is_again, passed = passed is config, None
            if not is_again:
                check(config)
                passed = config
        alembic.command.check = check_again

    def hold_server():
        """By then command line and settings are read, and nothing is bound, forked or connected."""
        from langflow.server import LangflowApplication
        usual = LangflowApplication.__init__
        def held(self, app_factory, *args, **more):
            if not go.is_set():
                application = step("application", app_factory)
                if application is not None:
                    app_factory = lambda: application
                    step("request", request_health, application)
                step("package files", remember_package_files)
                step("manifests", remember_manifests)
                step("components", rehearse_components)
                step("revisions", remember_revisions)
                step("models", compare_models_once)
                step("flow", rehearse_flow)
                hold("server")
            for work in after_go:
                work()
            usual(self, app_factory, *args, **more)
        LangflowApplication.__init__ = held

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    sys.addaudithook(audit)
    step("file", answer_for_file)
    step("missing files", remember_missing)
    try:
        # As without this script: dotenv looks elsewhere where there is none.
        globals()["__file__"] = argv[0] if os.sep in argv[0] else importlib.util.find_spec("langflow.__main__").origin
        from langflow.langflow_launcher import main
        import langflow.__main__, langflow.main, langflow.server
    except BaseException as error:
        what = error.name if isinstance(error, ImportError) else ""
        say(error=f"{type(error).__name__} {what or ''}".strip())
        raise
    step("drivers", import_drivers)
    step("modules", import_later)
    step("database", hold_database)
    step("checks", put_off_checks)
    step("key", put_off_key)
    step("server", hold_server)
    sys.argv = argv
    return main

main = warm_up()
del warm_up
${CUT_OFF}sys.exit(main())
`
