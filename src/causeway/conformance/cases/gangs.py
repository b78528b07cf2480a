"""Gangs: every rank knows its place, and they begin, fail and stop together."""

from __future__ import annotations

from collections.abc import Iterator

from causeway.conformance.bench import Bench, Try
from causeway.conformance.case import Claim, case, expect
from causeway.conformance.cases.files import SAVE
from causeway.conformance.scripts import BEAT, UP, WAIT
from causeway.model.jobs import CheckpointPolicy, FailureClass
from causeway.model.protocol import Phase

GANG = (Claim.GANGS,)
RANKS = 2
ALIASES = (
    *("CAUSEWAY_NODE_RANK", "SKYPILOT_NODE_RANK", "DSTACK_NODE_RANK"),
    *("SLURM_NODEID", "SLURM_PROCID"),
)
SIZES = ("WORLD_SIZE", "CAUSEWAY_NUM_NODES", "SKYPILOT_NUM_NODES", "DSTACK_NODES_NUM")
MEET = """
import os, socket, sys, time
where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if os.environ["RANK"] == "0":
    with socket.create_server(("", where[1])) as server:
        open("listens", "w").close()
        server.settimeout(50)
        call, _ = server.accept()
        call.sendall(b"hello from rank 0")
        call.close()
else:
    while not os.path.exists("listens"):
        time.sleep(0.05)
    with socket.create_connection(where, 50) as call:
        open("heard", "wb").write(call.recv(100) + b"\\n")
"""


@case(
    "gang-places", "Each rank finds its number, the gang's size and the meeting point.", claims=GANG
)
def gang_places(bench: Bench) -> None:
    one = bench.start("cat /proc/self/environ > environ-$RANK", num_nodes=RANKS)
    one.succeeds()
    found = [_environ(one, rank) for rank in range(RANKS)]
    for rank, env in enumerate(found):
        expect(env["RANK"] == str(rank), f"rank {rank} calls itself {env['RANK']}")
        for name in ALIASES:
            expect(env.get(name) == str(rank), f"{name} of rank {rank} is {env.get(name)}")
        for name in SIZES:
            expect(env.get(name) == str(RANKS), f"{name} of rank {rank} is {env.get(name)}")
        expect(
            int(env["LOCAL_RANK"]) < int(env["LOCAL_WORLD_SIZE"]) <= RANKS, "local ranks are off"
        )
    places = {(env["MASTER_ADDR"], env["MASTER_PORT"]) for env in found}
    expect(len(places) == 1, f"the ranks are told to meet at {places}")
    expect(0 < int(found[0]["MASTER_PORT"]) < 65536, f"the port is {found[0]['MASTER_PORT']}")


@case("gang-one", "An attempt of one is a gang of one, and knows it.")
def gang_one(bench: Bench) -> None:
    one = bench.start("cat /proc/self/environ > environ-$RANK")
    one.succeeds()
    env = _environ(one, 0)
    told = [env.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")]
    expect(told == ["0", "0", "1", "1"], f"it is told {told}")


@case("gang-together", "All ranks run at the same time.", claims=GANG)
def gang_together(bench: Bench) -> None:
    wait = "".join(f"until [ -e here-{rank} ]; do sleep 0.05; done\n" for rank in range(RANKS))
    bench.start("echo x > here-$RANK\n" + wait, num_nodes=RANKS).succeeds()


@case("gang-meets", "A rank reaches rank 0 at MASTER_ADDR and MASTER_PORT.", claims=GANG)
def gang_meets(bench: Bench) -> None:
    run = "command -v python3 > found || exit 0\nexec python3 -I meet.py"
    one = bench.start(run, files={"meet.py": MEET}, num_nodes=RANKS)
    one.succeeds()
    if one.lines("found"):
        expect(one.lines("heard") == ["hello from rank 0"], f"it heard {one.lines('heard')}")
    else:
        bench.note = "not tried by a call: jobs find no python3 there"


@case("gang-logs", "Each rank has logs of its own.", claims=(Claim.GANGS, Claim.STREAMS))
def gang_logs(bench: Bench) -> None:
    one = bench.start("echo out $RANK; echo err $RANK >&2", num_nodes=RANKS)
    one.succeeds()
    for rank in range(RANKS):
        for stream in ("out", "err"):
            found = one.log(f"rank-{rank}.std{stream}")
            expect(found == f"{stream} {rank}\n".encode(), f"rank-{rank}.std{stream} is {found!r}")


@case("gang-setup", "The set-up of a gang runs once.", claims=(Claim.GANGS, Claim.SETUP))
def gang_setup(bench: Bench) -> None:
    one = bench.start("cat count > seen-$RANK", setup="echo x >> count", num_nodes=RANKS)
    one.succeeds()
    for rank in range(RANKS):
        expect(one.lines(f"seen-{rank}") == ["x"], "the set-up did not run just once before")


@case("gang-early", "A rank that ends well before the others does not end them.", claims=GANG)
def gang_early(bench: Bench) -> None:
    one = bench.start('[ "$RANK" = 1 ] && exit 0\n' + UP + WAIT + "echo end > end", num_nodes=RANKS)
    one.wrote("up")
    one.runs()
    one.go()
    one.succeeds()
    expect(one.has("end"), "rank 0 did not come to its end")


@case("gang-rank-fails", "When one rank fails, all end, and its code is the gang's.", claims=GANG)
def gang_rank_fails(bench: Bench) -> None:
    one = bench.start(_one_of("exit 3"), num_nodes=RANKS)
    end = one.fails(3)
    expect(end.failure is FailureClass.USER, f"its class is {end.failure}")
    expect("1" in end.message, f"the message does not name the rank: {end.message!r}")
    one.still()


@case("gang-rank-killed", "When one rank is killed, all end.", claims=GANG)
def gang_rank_killed(bench: Bench) -> None:
    one = bench.start(_one_of("kill -KILL $$; sleep 60"), num_nodes=RANKS)
    end = one.fails(137)
    expect(end.restarts == 0, "it was started again without a checkpoint to go on from")
    one.still()


@case("gang-stop", "A stop reaches every rank.", claims=(Claim.GANGS, Claim.GRACE))
def gang_stop(bench: Bench) -> None:
    run = "trap 'echo x > heard-$RANK; exit 0' TERM\necho x >> up\nwhile :; do sleep 0.1; done\n"
    one = bench.start(run, num_nodes=RANKS)
    one.wrote("up", lines=RANKS)
    one.runs()
    one.stop(grace_ms=600_000)
    one.ends_as(Phase.STOPPED)
    expect(all(one.has(f"heard-{rank}") for rank in range(RANKS)), "a rank heard nothing")


@case("gang-forget", "Forgetting a gang kills every rank.", claims=GANG)
def gang_forget(bench: Bench) -> None:
    one = bench.start("echo x >> up\n" + BEAT, num_nodes=RANKS)
    one.wrote("up", lines=RANKS)
    one.forget()
    one.gone()


@case(
    "gang-restart",
    "A gang that saves checkpoints and loses a rank goes on in place, from the newest one.",
    claims=(Claim.GANGS, Claim.RESTARTS),
)
def gang_restart(bench: Bench) -> None:
    run = (
        SAVE
        + 'if [ -e died ]; then echo "$CAUSEWAY_RESUME_DIR" > resumed-$RANK; exit 0; fi\n'
        + '[ "$RANK" = 0 ] && while :; do sleep 0.1; done\n'
        + "save 3; echo x > died; kill -KILL $$; sleep 60\n"
    )
    one = bench.start(run, num_nodes=RANKS, checkpoint=CheckpointPolicy())
    end = one.succeeds()
    expect(end.restarts == 1, f"it counts {end.restarts} restarts")
    for rank in range(RANKS):
        told = one.lines(f"resumed-{rank}")
        expect(told and told[0].endswith("/step-3"), f"rank {rank} resumes from {told}")


@case(
    "gang-restart-bound",
    "A gang that loses a rank again and again is given up.",
    claims=(Claim.GANGS, Claim.RESTARTS),
)
def gang_restart_bound(bench: Bench) -> None:
    run = "echo x >> count\nkill -KILL $$; sleep 60"
    one = bench.start(run, num_nodes=RANKS, checkpoint=CheckpointPolicy())
    end = one.fails(137)
    expect(end.restarts > 0, "it was not started again at all")
    bench.note = f"after {end.restarts} restarts"


def _one_of(end: str) -> str:
    """Return a script in which rank 1 ends so, once rank 0 runs."""
    return f'if [ "$RANK" = 1 ]; then until [ -e beat ]; do sleep 0.05; done; {end}; fi\n' + BEAT


def _environ(one: Try, rank: int) -> dict[str, str]:
    path = one.work / f"environ-{rank}"
    expect(path.exists(), f"rank {rank} did not run, or has another number")
    return dict(_pairs(path.read_bytes().decode()))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split("\0"):
        name, equals, value = pair.partition("=")
        if equals:
            yield name, value
