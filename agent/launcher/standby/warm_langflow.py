"""
The script for the interpreter of a warm standby. Arguments: the descriptor of its link, the first entry of `sys.path`, and
LangFlow's own `sys.argv`.

It runs like `langflow run` until LangFlow would create its server, sends `{"type": "ready", …}`, and waits for one line: the
environment of a term. It ends when the link closes, even in the middle of an import. It reports only the kind of an error, since
messages may contain secrets.

Until that line, an audit hook (PEP 578) holds each call that would affect others, or refuses it in a rehearsal, and records the
files that are read. docs/evidence/warm-standby.md lists the assumptions about LangFlow.
"""

import sys

if __name__ == "__main__":
    # This precedes any other import, because the entry was the current directory.
    sys.path[0] = sys.argv[2]

import errno
import functools
import gc
import importlib.util
import json
import os
import socket
import tempfile
import threading

TEMPORARY = os.path.realpath(tempfile.gettempdir()) + os.sep

# 1. The calls that are held.

ACTS = {
    *("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.kill", "os.killpg"),
    *("subprocess.Popen", "pty.spawn", "sqlite3.connect"),
    *("socket.connect", "socket.sendto", "socket.sendmsg"),
    *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"),
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# The paths that an event changes, each with the directory that it is relative to, or -1.
CHANGES = {
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
    "open": lambda path, mode, flags: [(path, -1)] if flags & WRITES else [],
}


def full(path, at):
    base = "" if at < 0 else os.readlink(f"/proc/self/fd/{at}")
    return os.path.realpath(os.path.join(base, os.fsdecode(path)))


def is_path(path):
    # A descriptor belongs to a file that was checked when it was opened.
    return isinstance(path, (str, bytes, os.PathLike))


def is_outside(path, at):
    return is_path(path) and not full(path, at).startswith((TEMPORARY, "/dev/"))


def is_held(event, args):
    if event == "socket.bind":
        # No client uses a port that the kernel chooses. urllib3 binds one to find out whether IPv6 is available.
        return not (isinstance(args[1], tuple) and args[1][1] == 0)
    changed = CHANGES.get(event)
    return event in ACTS if changed is None else any(is_outside(*one) for one in changed(*args))


class NotBeforeGo(Exception):
    """A rehearsal would have acted."""


class Standby:
    def __init__(self, link):
        self.link = link
        self.go = threading.Event()
        self.after_go = []
        self.left_out = []
        self.read = Files()
        self.is_ready = self.is_rehearsing = False
        self.writes_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        self.listener = threading.Thread(target=self.listen, daemon=True)

    def start(self):
        self.listener.start()
        sys.addaudithook(self.audit)

    def listen(self):
        line = self.link.makefile().readline()
        if not line.endswith("\n"):
            os._exit(0)
        os.environ.update(json.loads(line))
        sys.dont_write_bytecode = self.writes_no_bytecode
        self.link.close()
        self.go.set()

    def report(self, **what):
        self.link.sendall(json.dumps(what).encode() + b"\n")

    def audit(self, event, args):
        if self.go.is_set():
            return
        if event == "open":
            self.read.remember(*args)
        if is_held(event, args):
            self.act(event)

    def act(self, what):
        if self.is_rehearsing:
            raise NotBeforeGo(what)
        self.hold(what)

    def hold(self, at):
        if not self.is_ready:
            self.is_ready = True
            gc.collect()
            gc.freeze()
            self.report(type="ready", at=at, without=self.left_out, read=self.read.states)
        self.go.wait()
        self.listener.join()

    def step(self, name, work, *args):
        """Runs a preparation step. If a step fails, the start is slower, with no other consequence."""
        self.is_rehearsing = True
        try:
            return work(*args)
        except BaseException as error:
            self.left_out.append(f"{name} ({type(error).__name__})")
        finally:
            self.is_rehearsing = False


# 2. The files that are read.


def signature_of(path):
    """The same text as `fileSignature` in the launcher."""
    try:
        stat = os.stat(path)
    except OSError as error:
        return errno.errorcode.get(error.errno, "")
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def is_installation(directory):
    """Whether only the directory is recorded. Its modification time changes with each package, and its files are too many."""
    prefixes = (sys.prefix + os.sep, sys.base_prefix + os.sep)
    return directory.endswith(("site-packages", "dist-packages")) or (directory + os.sep).startswith(prefixes)


class Files:
    def __init__(self):
        installations = [directory for directory in sys.path[1:] if is_installation(directory)]
        self.states = {directory: signature_of(directory) for directory in installations}
        self.unwatched = (
            *(name + os.sep for directory in installations for name in (directory, os.path.realpath(directory))),
            *(TEMPORARY, "/dev/", "/proc/", "/sys/"),
        )

    def remember(self, path, mode, flags):
        if flags & WRITES or not is_path(path):
            return
        try:
            path = os.path.abspath(os.fsdecode(path))
            if path.startswith(self.unwatched):
                return
            if path.endswith(".pyc"):
                path = importlib.util.source_from_cache(path)
            path.encode()  # A path that is not text cannot be sent to the launcher.
            if path not in self.states and not os.path.realpath(path).startswith(self.unwatched):
                self.states[path] = signature_of(path)
        except (OSError, ValueError):
            pass


# 3. The preparation.


def asynchronously(work, *args):
    """Uses a separate thread: the main one has no event loop before LangFlow creates it."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work(*args)).result()


def answer_for_file(standby):
    """`platform.architecture` starts the program `file`. croniter needs only the word size, which is available without it."""
    import platform

    usual = platform._syscmd_file
    platform._syscmd_file = lambda target, default="": usual(target, default) if standby.go.is_set() else default


def import_drivers():
    """psycopg starts programs to find two libraries, whose names are the same everywhere."""
    import ctypes.util

    import bcrypt  # noqa: F401

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
        import psycopg  # noqa: F401
    finally:
        ctypes.util.find_library = usual


# The first flow imports them in 0.3 s. Another version may not have all of them.
TRACERS = ("arize_phoenix", "langfuse", "langsmith", "langwatch", "native", "openlayer", "opik", "traceloop")


def import_tracers(standby):
    for tracer in TRACERS:
        try:
            importlib.import_module(f"langflow.services.tracing.{tracer}")
        except NotBeforeGo as error:
            standby.left_out.append(f"{tracer} ({error})")
        except Exception:
            pass


def hold_database(standby):
    # libpq connects without an audit event.
    from sqlalchemy import Engine, event

    def do_connect(*_):
        if not standby.go.is_set():
            standby.act("a connection to the database")

    event.listen(Engine, "do_connect", do_connect)


def put_off_checks(standby):
    """Before it creates the server, LangFlow checks PostgreSQL's version and the port. The launcher checks the port itself."""
    import langflow.__main__ as cli

    check, probe = cli.check_postgresql_version_sync, cli.is_port_in_use

    def check_version(url):
        if standby.go.is_set():
            return check(url)
        standby.after_go.append(lambda: check(url))

    cli.check_postgresql_version_sync = check_version
    cli.is_port_in_use = lambda *args, **more: standby.go.is_set() and probe(*args, **more)


def put_off_key(standby):
    """LangFlow writes the given key into its own file, here after the grant. A generated key is written immediately, or held."""
    from lfx.services.settings import auth

    write = auth.write_secret_to_file

    def write_secret(path, value):
        if not standby.go.is_set() and value == os.environ.get("LANGFLOW_SECRET_KEY"):
            standby.after_go.append(lambda: write(path, value))
        else:
            write(path, value)

    auth.write_secret_to_file = write_secret


def request_health(application):
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    # A client library would use a proxy from the environment, and log the request.
    scope = {
        **{"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET"},
        **{"scheme": "http", "path": "/health", "raw_path": b"/health", "query_string": b"", "root_path": ""},
        **{"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "state": {}},
    }
    asynchronously(application, scope, receive, send)


def remember_manifests():
    """Remembers where each installed package has its manifest: LangFlow searches the file lists of all packages for extensions."""
    from importlib.metadata import PathDistribution

    from lfx.extension.loader import _plugins

    usual = _plugins._distribution_manifest_path
    manifest = functools.cache(lambda path: usual(PathDistribution(path)))
    _plugins._distribution_manifest_path = lambda distribution: manifest(distribution._path)


def rehearse_components():
    """Imports the modules of LangFlow's own catalog of components, and discards the catalog. The user's components do not run:
    their modules would stay in the process with what they have read, such as an environment without an epoch."""
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


def rehearse_flow():
    """Creates a graph that never runs: the first graph of a process reads and parses files whose results all later ones use."""
    from lfx.components.input_output import ChatInput, ChatOutput
    from lfx.graph import Graph

    question = ChatInput(_id="ChatInput-rehearsal")
    answer = ChatOutput(_id="ChatOutput-rehearsal").set(input_value=question.message_response)
    flow = Graph(question, answer).dump(name="rehearsal")
    Graph.from_payload(flow["data"], flow_id="rehearsal", user_id="rehearsal")


def remember_revisions():
    import alembic.autogenerate.api
    import alembic.command
    import alembic.runtime.environment  # noqa: F401
    import langflow
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import pyfiles

    load = pyfiles.load_module_py
    remembered = functools.cache(load)

    def load_once(name, path):
        is_revision = os.path.basename(os.path.dirname(path)) == "versions"
        return (remembered if is_revision else load)(name, path)

    pyfiles.load_module_py = load_once
    config = Config()
    config.set_main_option("script_location", os.path.join(os.path.dirname(langflow.__file__), "alembic"))
    ScriptDirectory.from_config(config).get_heads()


def compare_models_once():
    """LangFlow compares its models with the database twice in a row, even if the first comparison finds no difference."""
    import alembic.command

    check, passed = alembic.command.check, None

    def check_again(config):
        nonlocal passed
        is_again, passed = passed is config, None
        if not is_again:
            check(config)
            passed = config

    alembic.command.check = check_again


def compare_password_once():
    """LangFlow compares the superuser's hash with an old default password, then with the given one, 0.3 s each, also if it has just
    made the hash. A hash that fits the given password fits no other."""
    from langflow.services import utils

    usual = utils.setup_superuser

    async def setup_superuser(settings, session):
        auth, secret = utils.get_auth_service(), settings.auth_settings.SUPERUSER_PASSWORD
        given = secret.get_secret_value() if secret else ""
        compare, make, made = functools.cache(auth.verify_password), auth.get_password_hash, {}

        def get_password_hash(plain):
            made[plain] = make(plain)
            return made[plain]

        def verify_password(plain, hashed):
            fits = given and (made.get(given) == hashed or compare(given, hashed))
            return plain == given if fits else compare(plain, hashed)

        auth.verify_password, auth.get_password_hash = verify_password, get_password_hash
        try:
            return await usual(settings, session)
        finally:
            del auth.verify_password, auth.get_password_hash

    utils.setup_superuser = setup_superuser


def copy_pictures_at_once():
    """LangFlow looks at each of its pictures and of their copies in a thread of its own."""
    import shutil

    from langflow import main
    from langflow.services.deps import get_storage_service

    async def copy_profile_pictures():
        origin = os.path.join(os.path.dirname(main.__file__), "initial_setup", "profile_pictures")
        target = os.path.join(get_storage_service().settings_service.settings.config_dir, "profile_pictures")
        for directory, _, names in os.walk(origin):
            copies = os.path.join(target, os.path.relpath(directory, origin))
            os.makedirs(copies, exist_ok=True)
            for name in set(names).difference(os.listdir(copies)):
                shutil.copy2(os.path.join(directory, name), copies)

    main.copy_profile_pictures = copy_profile_pictures


def hold_server(standby):
    from langflow.server import LangflowApplication

    usual = LangflowApplication.__init__

    def held(self, app_factory, *args, **more):
        if not standby.go.is_set():
            app_factory = made_ahead(standby, app_factory)
            standby.hold("server")
        for work in standby.after_go:
            work()
        usual(self, app_factory, *args, **more)

    LangflowApplication.__init__ = held


def made_ahead(standby, app_factory):
    application = standby.step("application", app_factory)
    if application is not None:
        standby.step("request", request_health, application)
    standby.step("manifests", remember_manifests)
    standby.step("components", rehearse_components)
    standby.step("revisions", remember_revisions)
    standby.step("models", compare_models_once)
    standby.step("password", compare_password_once)
    standby.step("pictures", copy_pictures_at_once)
    standby.step("flow", rehearse_flow)
    return app_factory if application is None else lambda: application


def import_langflow(standby, argv):
    try:
        # The value without this script. If it is missing, dotenv searches elsewhere.
        file = argv[0] if os.sep in argv[0] else importlib.util.find_spec("langflow.__main__").origin
        sys.modules["__main__"].__file__ = file
        main = importlib.import_module("langflow.langflow_launcher").main
        for name in ("langflow.__main__", "langflow.main", "langflow.server"):
            importlib.import_module(name)
    except BaseException as error:
        what = error.name if isinstance(error, ImportError) else ""
        standby.report(type="error", error=f"{type(error).__name__} {what or ''}".strip())
        raise
    return main


def warm_up(fd, argv):
    link = socket.socket(fileno=fd)
    link.set_inheritable(False)
    standby = Standby(link)
    standby.start()
    standby.step("file", answer_for_file, standby)
    main = import_langflow(standby, argv)
    standby.step("drivers", import_drivers)
    standby.step("tracers", import_tracers, standby)
    standby.step("database", hold_database, standby)
    standby.step("checks", put_off_checks, standby)
    standby.step("key", put_off_key, standby)
    standby.step("server", hold_server, standby)
    sys.argv = argv
    return main


if __name__ == "__main__":
    main = warm_up(int(sys.argv[1]), sys.argv[3:])
