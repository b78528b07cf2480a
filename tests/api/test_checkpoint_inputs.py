"""A job's newest checkpoint as another job's input."""

from __future__ import annotations

from house import House

TAKES = "name: takes\nrun: cat start/w\ninputs: {start: 'checkpoint:%s'}\n"


def test_it_is_the_newest_at_the_time_of_the_submission(house: House) -> None:
    agent = house.island()
    job = house.submit(more="checkpoint: {interval: 1s}\n")
    early = house.ask("POST", "/v1/jobs", content=TAKES % job)
    assert early.status_code == 409
    assert "no checkpoint yet" in early.json()["error"]["message"]
    start = agent.taken()
    agent.say(start)
    found = agent.upload(start, b"weights").json()["id"]
    for written in (job, job.rsplit(":", 1)[1], "train"):
        reply = house.ask("POST", "/v1/jobs", content=TAKES % written)
        assert reply.status_code == 201, reply.text
        made = house.parts.store.job(reply.json()["id"])
        assert made is not None
        assert made.spec.inputs == {"start": found}


def test_another_projects_checkpoint_is_not_there(house: House) -> None:
    agent = house.island()
    job = house.submit(more="checkpoint: {interval: 1s}\n")
    start = agent.taken()
    agent.say(start)
    agent.upload(start, b"weights")
    for text in (TAKES % job, TAKES % "nothing", TAKES % ""):
        reply = house.ask("POST", "/v1/jobs", who="rival/member", content=text)
        assert reply.status_code in (404, 422), reply.text
        assert set(reply.json()["error"]) >= {"message", "hint"}
