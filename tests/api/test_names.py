"""Jobs by the names that people gave them."""

from __future__ import annotations

from pathlib import Path

from house import House


def test_a_job_that_ended_before_a_restart_is_found_by_name(tmp_path: Path) -> None:
    with House.open(tmp_path) as house:
        house.submit("train")
        newest = house.submit("train")
        for job in house.get("/v1/jobs")["jobs"]:
            house.ask("POST", f"/v1/jobs/{job['id']}/cancel")
    with House.open(tmp_path) as house:
        assert house.get("/v1/jobs/train", who="operator")["id"] == newest
        member = house.new_token(tenant="acme", role="member")
        assert house.get("/v1/jobs/train", who=member)["id"] == newest
        assert house.ask("GET", "/v1/jobs/train", who="rival/member").status_code == 404
