"""The steps of the demonstration, each with the evidence that it was true."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.demo.world import ISLANDS, PROFILES, World
from causeway.model.errors import CausewayError, Unavailable
from causeway.sdk.transfer import HttpTransfer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "train_gpt"
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(slots=True)
class Story:
    """What was shown so far, and whether it was true."""

    world: World
    say: Callable[[str], None]
    steps: int = 300
    checks: list[tuple[str, bool, str]] = field(default_factory=list)
    job: str = ""
    first_island: str = ""

    def true(self, what: str, holds: bool, evidence: str = "") -> None:
        """Record one claim with its evidence."""
        self.checks.append((what, bool(holds), evidence))
        self.say(f"  {'✔' if holds else '✘'} {what}{'  ' + evidence if evidence else ''}")

    def view(self) -> dict[str, Any]:
        """Return the job as the API shows it."""
        found: dict[str, Any] = self.world.call("GET", f"/v1/jobs/{self.job}")
        return found


def tell(story: Story) -> None:
    """Tell the whole story; an error ends it and is one more claim that did not hold."""
    chapters = (islands_join, submit, kill, resume, come_back, model, bill)
    try:
        for number, chapter in enumerate(chapters, 1):
            title = (chapter.__doc__ or "").partition("\n")[0].rstrip(".")
            story.say(f"\n{number}. {title}")
            chapter(story)
    except CausewayError as error:
        story.true(f"the story went on ({error.message})", False, error.hint)


def islands_join(story: Story) -> None:
    """The control plane starts and three islands join, each with its own agent and key."""
    world = story.world
    world.start_centre()
    token = world.join_token(len(ISLANDS))
    for name in ISLANDS:
        world.join(name, PROFILES / f"{name}.toml", token)

    def all_live() -> Any:
        found = world.call("GET", "/v1/islands")["islands"]
        live = [i for i in found if i["state"] == "live" and i["inventory"]]
        return live if len(live) == len(ISLANDS) else None

    live = world.until("three islands are live", 60, all_live)
    story.true("three islands joined, outbound only", len(live) == 3, f"dashboard: {world.url}/")
    for offer in world.call("GET", "/v1/offers")["offers"]:
        story.say(
            f"    {offer['name']:<8} {offer['jurisdiction']}  {offer['purchase']:<10}"
            f" {float(offer['price']['amount_per_device_h']):.3f} USD/device·h"
            f"  PUE {offer['pue']:.2f}  {offer['carbon_g_per_kwh']:.0f} gCO2e/kWh  (simulated)"
        )


def submit(story: Story) -> None:
    """A real job is submitted: a byte-level GPT that learns from Python's own source."""
    world = story.world
    work = world.folder / "work"
    shutil.copytree(EXAMPLE, work, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "job.yaml").write_text(job_text(story.steps))
    _show_plan(story, _causeway(world, "plan", str(work / "job.yaml"), "--json"))
    launch = ("launch", str(work / "job.yaml"), "--yes", "--json", "--key", "demo-train")
    story.job = _causeway(world, *launch)["id"]
    story.true("submitted through the CLI", bool(story.job), story.job)
    again = _causeway(world, *launch)["id"]
    story.true("submitting twice with one key makes one job", again == story.job)


def _causeway(world: World, *arguments: str) -> Any:
    """Run the CLI as a user would and return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "causeway.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CAUSEWAY_URL": world.url, "CAUSEWAY_TOKEN": world.token},
    )
    if done.returncode not in (0, 1):
        raise Unavailable(f"causeway {arguments[0]} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def job_text(steps: int) -> str:
    """Return the job's YAML. Its data label is made up, so that the law has something to say."""
    return f"""\
name: stdlib-gpt
workdir: .
resources: {{cpus: 1, memory: 2GiB}}
run: python train.py --steps {steps} --checkpoint-s 3
checkpoint: {{interval: 3s}}
on_disconnect: move
warm: torch
outputs: [model]
model: {{name: stdlib-gpt}}
expected_run: 2m
# Simulated: the standard library is public text; the label shows what the law does with such data.
data: [{{class: personal, subject_region: EEA}}]
"""


def _show_plan(story: Story, plan: dict[str, Any]) -> None:
    story.say("    placement table (terms in USD, lower is better):")
    rows = plan["members"][0]["candidates"]
    for row in rows:
        mark = "✔" if row["chosen"] else " "
        terms = " ".join(f"{k}={v:.4f}" for k, v in row["terms_usd"].items())
        why = row["reasons"][0]["message"] if row["reasons"] else ""
        story.say(f"    {mark} {row['name']:<8} {row['score_usd']:.4f}  {terms}  {why}")
    forbidden = [r["name"] for r in rows if any(x["token"] == "law" for x in r["reasons"])]
    story.true("the law excludes the cheapest island, and says which rule", forbidden == ["corva"])


def kill(story: Story) -> None:
    """Its island is killed outright in mid-training: agent and job, SIGKILL."""
    world = story.world

    def trained() -> Any:
        view = story.view()
        if view["state"] in ENDED:
            raise Unavailable(f"the job ended too early: {view['headline']}")
        # Kill a little after a checkpoint reached the centre, so that some steps are lost.
        checkpoint = view["checkpoint"]
        far = checkpoint and view["step"] >= checkpoint["step"] + 3
        return view if far and checkpoint["step"] >= story.steps // 4 else None

    view = world.until("the job has trained and saved a checkpoint", 240, trained)
    story.first_island = view["island"].rpartition(":")[2]
    attempt = view["attempts"][-1]
    story.true(
        f"training runs on {story.first_island}",
        view["state"] == "running",
        f"step {view['step']}, checkpoint {view['checkpoint']['step']}, isolation "
        f"{attempt['isolation']}, {'warm' if attempt['warm'] else 'cold'} start",
    )
    pids = world.kill(story.first_island)
    story.true(f"{story.first_island} is dead", True, f"SIGKILL to {len(pids)} processes")


def resume(story: Story) -> None:
    """The loss is detected, the attempt fenced, and training goes on elsewhere, lawfully."""
    world = story.world

    def elsewhere() -> Any:
        view = story.view()
        if view["state"] in ("failed", "cancelled"):
            raise Unavailable(f"the job ended: {view['headline']}")
        last = view["attempts"][-1]
        return view if last["fence"] > 1 and last["first_step_ms"] else None

    view = world.until("training goes on elsewhere", 90, elsewhere)
    lost, last = view["attempts"][-2], view["attempts"][-1]
    island = last["island"].rpartition(":")[2]
    seconds = (last["first_step_ms"] - lost["ended_ms"]) / 1000
    story.true("the lost attempt is fenced", lost["state"] == "lost", lost["message"])
    story.true(
        f"{island} took it, the next best lawful island",
        island not in (story.first_island, "corva"),
        f"first new step {seconds:.1f} s after the loss was declared",
    )
    story.true(
        "it went on from the last checkpoint",
        last["resumed_step"] > 0,
        f"step {last['resumed_step']}",
    )
    done = world.until("the job ends", 300, lambda: _ended(story))
    story.true("the job succeeded", done["state"] == "succeeded", done["headline"])
    points = world.call("GET", f"/v1/jobs/{story.job}/progress")["progress"]
    fences = {point["fence"] for point in points if "loss" in point["values"]}
    first = next(p["values"]["loss"] for p in points if "loss" in p["values"])
    final = points[-1]["values"]["loss"]
    story.true(
        "the loss fell, over both attempts",
        len(fences) > 1 and final < first,
        f"{first:.2f} → {final:.2f}",
    )


def come_back(story: Story) -> None:
    """The dead island is switched on again and keeps its identity."""
    world = story.world
    world.join(story.first_island, PROFILES / f"{story.first_island}.toml")

    def live() -> Any:
        found = world.call("GET", f"/v1/islands/{story.first_island}")
        return found if found["state"] == "live" else None

    found = world.until(f"{story.first_island} is live again", 30, live)
    story.true(
        f"{story.first_island} is back under its name, with its loss on record",
        found["losses"] == 1,
        f"session {found['session']}",
    )


def _ended(story: Story) -> Any:
    view = story.view()
    return view if view["state"] in ENDED else None


def model(story: Story) -> None:
    """The trained model is in the library, with its lineage, and writes a few lines."""
    world = story.world
    found = world.call("GET", f"/v1/artifacts?kind=model&job={story.job}")["artifacts"]
    story.true(
        "the model is registered with its lineage",
        len(found) == 1 and len(found[0]["parents"]) >= 2,
        f"{found[0]['id'][:19]}… from {len(found[0]['parents'])} artefacts" if found else "",
    )
    folder = world.folder / "model"
    HttpTransfer([world.url], lambda: world.token).pull(found[0]["id"], folder)
    weights = next(folder.rglob("model.safetensors"))
    sampled = subprocess.run(
        [sys.executable, str(EXAMPLE / "sample.py"), str(weights.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    story.true("the model writes", sampled.returncode == 0 and len(sampled.stdout.strip()) > 20)
    for line in (sampled.stdout or sampled.stderr).strip().splitlines()[:12]:
        story.say(f"    │ {line}")


def bill(story: Story) -> None:
    """The bill: device-seconds, energy, carbon, price, and who gets what share."""
    found = story.world.call("GET", f"/v1/jobs/{story.job}/cost")
    for line in found["lines"]:
        story.say(
            f"    attempt {line['fence']} on {line['island'].rpartition(':')[2]:<8}"
            f" {line['device_ms'] / 1000:8.1f} device·s"
            f" {line['energy_facility_mj'] / 3.6e6:8.4f} Wh ({line['energy_quality']})"
            f" {line['carbon_mg'] / 1000:8.4f} gCO2e"
            f" {line['amount_micros'] / 1e6:.6f} {line['currency']}"
        )
    for share in found["shares"]:
        story.say(f"    → {share['account']:<28} {share['micros'] / 1e6:.6f} {share['currency']}")
    total = sum(found["totals_micros"].values())
    story.true("both attempts are on the bill", len(found["lines"]) == 2)
    story.true(
        "the journal balances",
        found["balanced"] and total > 0 and total == sum(s["micros"] for s in found["shares"]),
        f"{total / 1e6:.6f} USD (prices are simulated)",
    )
