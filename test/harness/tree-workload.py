"""A small copy of LangFlow's process tree: a parent, gunicorn's master that holds the port, and a worker that serves it.

usage: tree-workload.py PORT LOG

Each of the three writes a beat every 10 ms. As in LangFlow, the master starts another worker some seconds after it
lost one, and a worker continues to serve when parent and master are gone.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
import time

WORKER_AGAIN_SECONDS = 7
PORT, LOG = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def write(role, what):
    line = {
        "replica": os.environ["LEADER_IDENTITY"],
        "epoch": int(os.environ["LEADER_EPOCH"]),
        "pid": os.getpid(),
        "what": what,
        "role": role,
        "mono": time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e6,
    }
    os.write(LOG, (json.dumps(line) + "\n").encode())


def live(role):
    write(role, "start")

    def beat():
        while True:
            write(role, "beat")
            time.sleep(0.01)

    threading.Thread(target=beat, daemon=True).start()


def end_on_term(role, child=None):
    def end(*_):
        if child is not None:
            os.kill(child(), signal.SIGTERM)
            os.waitpid(child(), 0)
        write(role, "stop")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)


def work(listener):
    end_on_term("worker")
    live("worker")
    body = b'{"status":"ok"}'
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    # Waits with epoll, as uvicorn's event loop does.
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    while True:
        epoll.poll()
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(head % len(body) + body)


def fork(run, *args):
    pid = os.fork()
    if pid == 0:
        run(*args)
    return pid


def master():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen(128)
    worker = fork(work, listener)
    end_on_term("master", lambda: worker)
    live("master")
    while True:
        os.waitpid(worker, 0)
        time.sleep(WORKER_AGAIN_SECONDS)
        worker = fork(work, listener)


pid = fork(master)
end_on_term("parent", lambda: pid)
live("parent")
os.waitpid(pid, 0)
write("parent", "stop")
