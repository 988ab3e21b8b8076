"""Tests of `warm_langflow.py` without LangFlow. test/e2e/warm.e2e.ts tests it with a real one."""

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

SCRIPT = Path(__file__).parents[3] / "agent/launcher/standby/warm_langflow.py"
spec = importlib.util.spec_from_file_location("warm_langflow", SCRIPT)
warm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(warm)


def standby():
    return warm.Standby(mock.Mock())


def fake_modules(name, members):
    """Patches `sys.modules` with a module of that name, and with its packages."""
    parts = name.split(".")
    made = {".".join(parts[:end]): types.ModuleType(name) for end in range(1, len(parts) + 1)}
    for child in list(made)[1:]:
        package, _, last = child.rpartition(".")
        setattr(made[package], last, made[child])
    vars(made[name]).update(members)
    return mock.patch.dict(sys.modules, made)


class InDirectory(unittest.TestCase):
    """A test with a directory `outside`, and with its sibling `tmp` for temporary files."""

    def setUp(self):
        base = tempfile.TemporaryDirectory()
        self.addCleanup(base.cleanup)
        self.outside, self.tmp = Path(base.name).resolve() / "outside", Path(base.name).resolve() / "tmp"
        self.outside.mkdir()
        self.tmp.mkdir()
        temporary = mock.patch.object(warm, "TEMPORARY", f"{self.tmp}/")
        temporary.start()
        self.addCleanup(temporary.stop)


class HeldActs(InDirectory):
    def test_an_act_outside_the_process_is_held(self):
        at = os.open(self.outside, os.O_RDONLY)
        self.addCleanup(os.close, at)
        for event, *args in [
            ("os.fork",),
            ("subprocess.Popen", "true", ["true"], None, None),
            ("socket.connect", None, ("127.0.0.1", 9)),
            ("socket.bind", None, ("127.0.0.1", 9)),
            ("socket.bind", None, "/run/socket"),
            ("sqlite3.connect", ":memory:"),
            ("open", self.outside / "file", "w", os.O_WRONLY | os.O_CREAT),
            ("open", b"/file", "a", os.O_RDWR),
            ("open", f"{self.tmp}/../file", "w", os.O_CREAT),
            ("os.mkdir", "/directory", 0o777, -1),
            ("os.remove", "file", at),
            ("os.rename", f"{self.tmp}/a", "/b", -1, -1),
            ("os.rename", "/a", f"{self.tmp}/b", -1, -1),
            ("os.link", "/a", "/b", -1, -1),
        ]:
            with self.subTest(event=event, args=args):
                self.assertTrue(warm.is_held(event, args))

    def test_a_read_or_a_temporary_file_is_not_held(self):
        for event, *args in [
            ("import", "json"),
            ("open", "/etc/hosts", "r", os.O_RDONLY),
            ("open", f"{self.tmp}/file", "w", os.O_WRONLY | os.O_CREAT),
            ("open", "/dev/null", "w", os.O_WRONLY),
            ("open", 7, "w", os.O_WRONLY),
            ("os.mkdir", self.outside, 0o777, -1),
            ("os.rename", f"{self.tmp}/a", f"{self.tmp}/b", -1, -1),
            ("socket.bind", None, ("127.0.0.1", 0)),
        ]:
            with self.subTest(event=event, args=args):
                self.assertFalse(warm.is_held(event, args))

    def test_a_rehearsal_leaves_out_a_step_that_would_act(self):
        one = standby()
        self.assertIsNone(one.step("x", one.audit, "os.fork", ()))
        self.assertEqual(one.left_out, ["x (NotBeforeGo)"])
        one.link.sendall.assert_not_called()

    def test_after_go_no_act_is_held_and_no_read_is_remembered(self):
        one = standby()
        one.go.set()
        one.audit("os.fork", ())
        one.audit("open", ("/etc/hosts", "r", os.O_RDONLY))
        self.assertNotIn("/etc/hosts", one.read.states)


class FilesRead(InDirectory):
    def setUp(self):
        super().setUp()
        self.file = f"{self.outside}/file"
        Path(self.file).write_text("old")

    def test_a_file_keeps_the_state_of_its_first_read(self):
        files = warm.Files()
        files.remember(self.file, "r", os.O_RDONLY)
        old = warm.signature_of(self.file)
        Path(self.file).write_text("another")
        files.remember(self.file, "r", os.O_RDONLY)
        files.remember(os.fsencode(f"{self.file}-missing"), "r", os.O_RDONLY)
        self.assertEqual((files.states[self.file], files.states[f"{self.file}-missing"]), (old, "ENOENT"))
        self.assertNotEqual(warm.signature_of(self.file), old)

    def test_bytecode_counts_as_a_read_of_its_source(self):
        files = warm.Files()
        files.remember(importlib.util.cache_from_source(f"{self.file}.py"), "r", os.O_RDONLY)
        self.assertIn(f"{self.file}.py", files.states)

    def test_packages_temporary_files_and_writes_are_not_remembered(self):
        packages = self.outside / "site-packages"
        with mock.patch.object(sys, "path", ["", str(packages)]):
            files = warm.Files()
        before = set(files.states)
        self.assertIn(str(packages), before)
        for path, flags in [
            (packages / "module.py", os.O_RDONLY),
            (f"{self.outside}/written", os.O_WRONLY),
            (f"{self.tmp}/file", os.O_RDONLY),
            ("/proc/self/stat", os.O_RDONLY),
            (f"{self.outside}/\udcff", os.O_RDONLY),
            (3, os.O_RDONLY),
        ]:
            files.remember(path, "r", flags)
        self.assertEqual(set(files.states), before)


class DelayedUntilGo(unittest.TestCase):
    def test_the_checks_of_the_database_and_the_port(self):
        one, checked = standby(), []
        cli = {"check_postgresql_version_sync": checked.append, "is_port_in_use": lambda port: True}
        with fake_modules("langflow.__main__", cli):
            warm.put_off_checks(one)
            main = sys.modules["langflow.__main__"]
            main.check_postgresql_version_sync("url")
            self.assertEqual((checked, main.is_port_in_use(1)), ([], False))
            one.go.set()
            self.assertTrue(main.is_port_in_use(1))
            for work in one.after_go:
                work()
            self.assertEqual(checked, ["url"])

    def test_the_write_of_a_given_key_but_not_of_a_generated_one(self):
        one, written = standby(), []
        auth = {"write_secret_to_file": lambda path, value: written.append(value)}
        with (
            fake_modules("lfx.services.settings.auth", auth),
            mock.patch.dict(os.environ, {"LANGFLOW_SECRET_KEY": "given"}),
        ):
            warm.put_off_key(one)
            write = sys.modules["lfx.services.settings.auth"].write_secret_to_file
            write("path", "given")
            write("path", "made up")
            self.assertEqual(written, ["made up"])
            one.after_go.pop()()
            self.assertEqual(written, ["made up", "given"])

    def test_the_connection_to_the_database(self):
        one, listeners = standby(), []
        event = types.SimpleNamespace(listen=lambda *args: listeners.append(args))
        with fake_modules("sqlalchemy", {"Engine": "Engine", "event": event}):
            warm.hold_database(one)
        [(target, name, do_connect)] = listeners
        self.assertEqual((target, name), ("Engine", "do_connect"))
        one.is_rehearsing = True
        self.assertRaises(warm.NotBeforeGo, do_connect, "dialect")
        one.go.set()
        do_connect("dialect")

    def test_the_import_of_a_tracer_that_would_act(self):
        one = standby()

        def import_one(name):
            raise warm.NotBeforeGo("os.fork") if name == "langflow.services.tracing.opik" else ImportError(name)

        with mock.patch("importlib.import_module", import_one):
            warm.import_tracers(one)
        self.assertEqual(one.left_out, ["opik (os.fork)"])


class ModelComparison(unittest.TestCase):
    def test_the_same_config_is_not_compared_twice_in_a_row(self):
        compared = []
        with fake_modules("alembic.command", {"check": compared.append}):
            warm.compare_models_once()
            check = sys.modules["alembic.command"].check
            for config in ["a", "a", "a", "b", "a"]:
                check(config)
        self.assertEqual(compared, ["a", "a", "b", "a"])


class PasswordComparison(unittest.IsolatedAsyncioTestCase):
    class Auth:
        def __init__(self):
            self.worked = []

        def verify_password(self, plain, hashed):
            self.worked.append(f"compare {plain}")
            return hashed == f"hash of {plain}"

        def get_password_hash(self, plain):
            self.worked.append(f"make {plain}")
            return f"hash of {plain}"

    async def test_a_hash_is_compared_once_with_the_given_password_and_as_usual_if_that_does_not_fit(self):
        for hashed, given, answers, worked in [
            ("hash of given", "given", [False, True, False], ["compare given"]),
            (None, "given", [False, True, False], ["make given"]),
            ("hash of old", "given", [True, False, False], ["compare given", "compare old", "compare "]),
            ("hash of old", None, [True, False, False], ["compare old", "compare given", "compare "]),
            ("hash of old", "old", [True, False, False], ["compare old"]),
        ]:
            with self.subTest(hashed=hashed, given=given):
                auth = self.Auth()

                async def setup(settings, session, auth=auth):
                    hashed = session or auth.get_password_hash("given")
                    return [auth.verify_password(plain, hashed) for plain in ("old", "given", "")]

                members = {"setup_superuser": setup, "get_auth_service": lambda auth=auth: auth}
                secret = given and mock.Mock(get_secret_value=lambda given=given: given)
                with fake_modules("langflow.services.utils", members):
                    warm.compare_password_once()
                    settings = mock.Mock(auth_settings=mock.Mock(SUPERUSER_PASSWORD=secret))
                    got = await sys.modules["langflow.services.utils"].setup_superuser(settings, hashed)
                self.assertEqual((got, auth.worked), (answers, worked))
                self.assertEqual(vars(auth), {"worked": worked})


class Pictures(InDirectory):
    def test_only_pictures_without_a_copy_are_copied(self):
        origin = self.outside / "initial_setup" / "profile_pictures"
        target = self.tmp / "profile_pictures"
        for name in ("Space/a.svg", "Space/b.svg", "c.svg"):
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            (origin / name).write_text("new")
        (target / "Space").mkdir(parents=True)
        (target / "Space/a.svg").write_text("old")
        storage = mock.Mock()
        storage.settings_service.settings.config_dir = str(self.tmp)
        file = str(self.outside / "main.py")
        with (
            fake_modules("langflow.services.deps", {"get_storage_service": lambda: storage}),
            fake_modules("langflow.main", {"__file__": file}),
        ):
            sys.modules["langflow"].main = sys.modules["langflow.main"]
            warm.copy_pictures_at_once()
            asyncio.run(sys.modules["langflow.main"].copy_profile_pictures())
        texts = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*.svg")}
        self.assertEqual(texts, {"Space/a.svg": "old", "Space/b.svg": "new", "c.svg": "new"})


LANGFLOW = {
    "__init__.py": "",
    "__main__.py": "",
    "main.py": "",
    "server.py": "class LangflowApplication:\n    def __init__(self, app_factory):\n        self.application = app_factory()\n",
    "langflow_launcher.py": """
def main():
    from langflow.server import LangflowApplication
    LangflowApplication(lambda: "made")
""",
}


class TheProcess(InDirectory):
    """A whole run of the script, with a stand-in for LangFlow."""

    def start(self, **files):
        package = self.outside / "langflow"
        package.mkdir(exist_ok=True)
        for name, text in {**LANGFLOW, **{f"{name}.py": text for name, text in files.items()}}.items():
            Path(package, name).write_text(text)
        self.link, theirs = socket.socketpair()
        self.addCleanup(self.link.close)
        self.link.settimeout(30)
        script = f"{SCRIPT.read_text()}sys.exit(main())\n"
        args = [sys.executable, "-c", script, str(theirs.fileno()), str(self.outside), "langflow", "run", "--port", "1"]
        env = {**os.environ, "TMPDIR": str(self.tmp)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen(args, pass_fds=[theirs.fileno()], env=env, **pipes)
        theirs.close()
        self.addCleanup(child.kill)
        return child

    def said(self):
        return json.loads(self.link.makefile().readline())

    def test_waits_before_langflows_first_act(self):
        (self.outside / "there").touch()
        for event, act in [
            ("os.fork", "os.fork() or os._exit(0)"),
            ("subprocess.Popen", "subprocess.run(['true'])"),
            ("os.system", "os.system('true')"),
            ("socket.connect", "socket.socket().connect_ex(('127.0.0.1', 9))"),
            ("socket.bind", "socket.socket().bind(('127.0.0.1', 9))"),
            ("socket.getaddrinfo", "socket.getaddrinfo('localhost', 80)"),
            ("sqlite3.connect", "sqlite3.connect(':memory:')"),
            ("open", "open(f'{outside}/made', 'a')"),
            ("os.mkdir", "os.makedirs(f'{outside}/made', exist_ok=True)"),
            ("os.remove", "os.remove(f'{outside}/there')"),
        ]:
            with self.subTest(event=event):
                child = self.start(main=f"import os, socket, sqlite3, subprocess\noutside = {str(self.outside)!r}\n{act}\n")
                self.assertEqual(self.said()["at"], event)
                self.assertEqual(sorted(os.listdir(self.outside)), ["langflow", "there"])
                child.kill()
                child.communicate(timeout=30)

    def test_leaves_out_an_application_that_acts_and_waits_at_the_server(self):
        launcher = LANGFLOW["langflow_launcher.py"].replace('lambda: "made"', f"lambda: open('{self.outside}/made', 'w').name")
        child = self.start(langflow_launcher=launcher)
        said = self.said()
        self.assertEqual(said["at"], "server")
        self.assertIn("application (NotBeforeGo)", said["without"])
        self.assertFalse((self.outside / "made").exists())
        self.link.sendall(b"{}\n")
        child.communicate(timeout=30)
        self.assertTrue((self.outside / "made").exists())

    def test_ends_when_its_link_is_closed(self):
        child = self.start(main="import time\ntime.sleep(60)\n")
        self.link.close()
        child.communicate(timeout=30)
        self.assertEqual(child.returncode, 0)

    def test_reports_only_the_kind_of_an_error(self):
        child = self.start(main="raise ValueError('s3cret')\n")
        self.assertEqual(self.said(), {"type": "error", "error": "ValueError"})
        _, err = child.communicate(timeout=30)
        self.assertIn("s3cret", err)
        self.assertEqual(child.returncode, 1)


if __name__ == "__main__":
    unittest.main()
