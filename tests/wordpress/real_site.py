"""A real WordPress of Debian's packages for the time of a block: a private MariaDB on a socket and PHP's own server.

Everything lives in one temporary folder; nothing of the machine's own WordPress, MariaDB or web server is touched.
Application passwords over http need ``WP_ENVIRONMENT_TYPE=local``, which is what the site says it is.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

WORDPRESS = Path("/usr/share/wordpress")
PACKAGES = "wordpress mariadb-server php-cli php-mysql php-xml php-mbstring php-curl"
START_SECONDS_MAX = 60.0
TOOL = "tool.php"
ROLES = ("administrator", "editor", "author", "contributor", "subscriber")

_CONFIG = Template("""<?php
define('DB_NAME', 'wordpress'); define('DB_USER', 'root'); define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:$socket'); define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', '');
define('WP_ENVIRONMENT_TYPE', 'local'); define('DISABLE_WP_CRON', true); define('WP_HTTP_BLOCK_EXTERNAL', true);
define('AUTOMATIC_UPDATER_DISABLED', true); define('WP_DEBUG', false); define('WP_POST_REVISIONS', 5);
define('WP_CONTENT_DIR', '$root/wp-content');
foreach (['AUTH','SECURE_AUTH','LOGGED_IN','NONCE'] as $$name) {
    define($$name . '_KEY', 'key of ' . $$name); define($$name . '_SALT', 'salt of ' . $$name);
}
$$table_prefix = 'wp_';
require_once ABSPATH . 'wp-settings.php';
""")
_ROUTER = """<?php
$path = $_SERVER['DOCUMENT_ROOT'] . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (is_file($path)) { return false; }
$_SERVER['SCRIPT_NAME'] = '/index.php';
require dirname(__DIR__) . '/prepend.php';
require ABSPATH . 'index.php';
"""
# The theme shows what a reader would get: title, and the content with all of WordPress's filters.
_THEME = """<!doctype html><html><head><meta charset="utf-8"><?php wp_head(); ?></head><body><?php
while (have_posts()) { the_post(); echo '<h1>'; the_title(); echo '</h1>'; the_content(); } ?></body></html>
"""
# Runs what tests send it: the site is theirs alone, on loopback.
_TOOL = """<?php
require_once ABSPATH . 'wp-load.php';
eval(file_get_contents('php://input'));
"""
_INSTALL = Template("""<?php
define('WP_INSTALLING', true); define('WP_SITEURL', 'http://$host');
$$_SERVER['HTTP_HOST'] = '$host'; $$_SERVER['REQUEST_URI'] = '/'; $$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
function wp_mail() { return true; }
require '$root/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Test site', 'administrator', 'administrator@site.example', true, '', 'administrator password');
switch_theme('plain');
$$passwords = [];
foreach (json_decode('$roles') as $$role) {
    $$user = get_user_by('login', $$role);
    $$id = $$user ? $$user->ID : wp_insert_user(
        ['user_login' => $$role, 'user_pass' => 'a password', 'user_email' => "$$role@site.example", 'role' => $$role]);
    [$$password] = WP_Application_Passwords::create_new_application_password($$id, ['name' => 'tests']);
    $$passwords[$$role] = WP_Application_Passwords::chunk_password($$password);
}
wp_delete_post(1, true);
echo "\\nPASSWORDS" . json_encode($$passwords);
""")


_WATCH = """
import os, signal, sys
sys.stdin.buffer.read()
try:
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
"""
_watches: dict[int, subprocess.Popen[bytes]] = {}


def missing() -> str:
    """Which of what a real WordPress needs is not installed; empty when all of it is."""
    programs = ("mariadbd", "mariadb-install-db", "php")
    absent = [name for name in programs if _program(name) is None]
    absent += [] if (WORDPRESS / "wp-load.php").exists() else ["wordpress"]
    if not absent:
        modules = subprocess.run([_program("php") or "php", "-m"], capture_output=True, text=True, check=False).stdout
        absent += [f"php-{name}" for name in ("mysqli", "xml", "mbstring") if name not in modules.split()]
    return ", ".join(absent)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class RealSite:
    """``passwords`` are application passwords by role, which is the user's name too."""

    url: str
    folder: Path
    passwords: dict[str, str]

    def php(self, code: str) -> str:
        """What a piece of PHP prints that runs inside of WordPress."""
        answer = urllib.request.urlopen(f"{self.url}/{TOOL}", code.encode(), timeout=START_SECONDS_MAX)  # noqa: S310
        with answer:
            return str(answer.read().decode())

    def posts(self) -> list[dict[str, Any]]:
        """Every post there is, in whatever state: id, name, title, state, content."""
        rows = self.php(
            'echo json_encode($wpdb->get_results("SELECT ID AS id, post_name AS slug, post_title AS title, '
            "post_status AS status, post_content AS content FROM $wpdb->posts WHERE post_type = 'post' "
            "AND post_status <> 'auto-draft' ORDER BY ID\", ARRAY_A));"
        )
        return [{**row, "id": int(row["id"])} for row in json.loads(rows)]

    def clear(self, permalinks: str = "/%postname%/") -> None:
        self.php(
            "foreach (get_posts(['post_type' => 'post', 'post_status' => array_keys(get_post_stati()), "
            "'numberposts' => -1, 'fields' => 'ids']) as $id) { wp_delete_post($id, true); }"
            f"$wp_rewrite->set_permalink_structure('{permalinks}'); $wp_rewrite->flush_rules();"
        )


@contextmanager
def real_site() -> Iterator[RealSite]:
    """A site that was just installed, with one user per role."""
    folder = Path(tempfile.mkdtemp(prefix="infin8-wordpress-"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        _start_mariadb(folder, processes)
        port = _free_port()
        _make_site(folder)
        passwords = _install(folder, f"127.0.0.1:{port}")
        _start_php(folder, port, processes)
        yield RealSite(f"http://127.0.0.1:{port}", folder, passwords)
    finally:
        for process in reversed(processes):
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start_mariadb(folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    data, user = folder / "db", ["--user=root"] if os.geteuid() == 0 else []
    _run([
        _program("mariadb-install-db") or "", "--no-defaults", f"--datadir={data}", "--skip-test-db",
        "--auth-root-authentication-method=normal", "--innodb-log-file-size=4M", *user,
    ])  # fmt: skip
    arguments = [
        _program("mariadbd") or "", "--no-defaults", f"--datadir={data}", f"--socket={folder}/db.sock",
        f"--pid-file={folder}/db.pid", "--skip-networking", "--innodb-log-file-size=4M",
        "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-log-bin", *user,
    ]  # fmt: skip
    processes.append(_popen(arguments, folder / "mariadb.log"))
    _wait_until(lambda: _accepts(str(folder / "db.sock")), processes[-1], folder / "mariadb.log")


def _make_site(folder: Path) -> None:
    """Links to the package's files, with a configuration and a content folder of our own."""
    root = folder / "site"
    root.mkdir()
    for path in WORDPRESS.iterdir():
        if path.name not in ("wp-config.php", "wp-content", ".htaccess"):
            (root / path.name).symlink_to(path)
    theme = root / "wp-content" / "themes" / "plain"
    theme.mkdir(parents=True)
    (theme / "style.css").write_text("/* Theme Name: Plain */\n")
    (theme / "index.php").write_text(_THEME)
    (root / "wp-config.php").write_text(_CONFIG.substitute(socket=folder / "db.sock", root=root))
    (root / "router.php").write_text(_ROUTER)
    (root / TOOL).write_text(_TOOL)
    (folder / "prepend.php").write_text(f"<?php defined('ABSPATH') || define('ABSPATH', '{root}/');\n")


def _install(folder: Path, host: str) -> dict[str, str]:
    create = f"$db = new mysqli(null, 'root', '', '', 0, '{folder}/db.sock'); $db->query('CREATE DATABASE wordpress');"
    php = _program("php") or ""
    _run([php, "-r", create])
    script = folder / "install.php"
    script.write_text(_INSTALL.substitute(root=folder / "site", host=host, roles=json.dumps(ROLES)))
    said = _run([php, "-d", f"auto_prepend_file={folder}/prepend.php", str(script)])
    passwords: dict[str, str] = json.loads(said.rpartition("PASSWORDS")[2])
    return passwords


def _start_php(folder: Path, port: int, processes: list[subprocess.Popen[bytes]]) -> None:
    arguments = [
        _program("php") or "", "-d", f"auto_prepend_file={folder}/prepend.php", "-d", "display_errors=0",
        "-d", "opcache.enable=1", "-d", "opcache.enable_cli=1",
        "-S", f"127.0.0.1:{port}", "-t", str(folder / "site"), str(folder / "site" / "router.php"),
    ]  # fmt: skip
    processes.append(_popen(arguments, folder / "php.log", PHP_CLI_SERVER_WORKERS="4"))
    _wait_until(lambda: _accepts(("127.0.0.1", port)), processes[-1], folder / "php.log")


def _popen(arguments: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A process with a group of its own, which ends with this process, however that ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            arguments,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    watch = [sys.executable, "-I", "-S", "-c", _WATCH, str(process.pid)]
    # Its input ends when we do; PHP's server leaves its children behind otherwise.
    _watches[process.pid] = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
    return process


def _run(arguments: Sequence[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-1500:]}")
    return done.stdout


def _wait_until(is_up: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not come up: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.02)


def _accepts(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The process with its children: PHP's server has some."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    watch = _watches.pop(process.pid)
    watch.communicate()
    process.wait(10)


if __name__ == "__main__":

    async def _serve() -> None:
        with real_site() as site:
            print(json.dumps({"url": site.url, "folder": str(site.folder), "passwords": site.passwords}), flush=True)  # noqa: T201
            await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(_serve())
