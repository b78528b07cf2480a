"""A virtual kubelet: one node of a real control plane, whose containers are bubblewrap's.

It does what the control plane needs of a kubelet, in the terms of the API: it registers a node
with whatever capacity it is told, renews its lease, watches the pods that the scheduler bound to
it, maps their volumes (hostPath, emptyDir, a claim whose volume is a hostPath, secrets, config
maps, projected ones), runs the container's command in a process namespace of its own, ends it with
its grace, its deadline or its memory limit, and reports state, exit code and last words.

What it is not: images are never pulled (a container sees this machine's own system; an image that
its settings do not name is reported as a kubelet reports one that cannot be pulled), there is one
container per pod, no network of a pod's own (its address is 127.0.0.1), no probes, memory is looked
at four times a second rather than held by the kernel, and containers die with it. Run as

    python kubelet.py settings.json
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

MERGE = {"Content-Type": "application/merge-patch+json"}
LAST_WORDS_BYTES = 2048
Json = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Api:
    """The API server, asked until it answers."""

    def __init__(self, settings: Json) -> None:
        self.http = httpx.Client(
            base_url=settings["server"],
            verify=_trusting(settings["ca"]),
            headers={"Authorization": f"Bearer {settings['token']}"},
            timeout=10,
            trust_env=False,
        )

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        while True:
            try:
                answer = self.http.request(method, path, **more)
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if answer.status_code < 500 and answer.status_code != 429:
                return answer
            time.sleep(0.2)

    def watch(self, path: str, params: Json) -> Iterator[Json]:
        wanted = {**params, "watch": "1", "timeoutSeconds": "60"}
        with self.http.stream("GET", path, params=wanted, timeout=90) as lines:
            lines.raise_for_status()
            for line in lines.iter_lines():
                yield json.loads(line)


def _trusting(ca: str) -> Any:
    import ssl

    return ssl.create_default_context(cafile=ca)


class Pod:
    """One pod on this node, in a thread of its own."""

    def __init__(self, kubelet: Kubelet, pod: Json) -> None:
        self.kubelet = kubelet
        self.pod = pod
        self.meta, self.spec = pod["metadata"], pod["spec"]
        self.container = self.spec["containers"][0]
        self.path = f"/api/v1/namespaces/{self.meta['namespace']}/pods/{self.meta['name']}"
        self.folder = kubelet.folder / "pods" / self.meta["uid"]
        self.told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.grace_s = 30.0
        self.started = ""
        self.restarts = 0
        self.pid = 0
        self.why = ""
        self.devices: dict[str, list[int]] = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.live, daemon=True)

    # -- life -----------------------------------------------------------------------------------

    def live(self) -> None:
        try:
            self._live()
        except Exception as error:
            self.report(phase="Failed", reason="Broken", message=f"{type(error).__name__}: {error}")
            raise
        finally:
            self.ended.set()
            self.kubelet.release(self)

    def _live(self) -> None:
        if self.container["image"] not in self.kubelet.settings["images"]:
            self._no_image()
            return
        self.devices = self.kubelet.allot(self)
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            code = self._run()
            again = self.spec.get("restartPolicy") == "Always" and not self.why
            if not again:
                break
            self.restarts += 1
            time.sleep(0.5)
        self._over(code)

    def _over(self, code: int) -> None:
        if self.why == "vanished":
            return
        reason = {"deadline": "DeadlineExceeded", "evicted": "Evicted"}.get(self.why, "")
        said = {
            "deadline": "Pod was active on the node longer than the specified deadline",
            "evicted": "The node was low on resource: memory.",
        }.get(self.why, "")
        phase = "Succeeded" if code == 0 and not reason else "Failed"
        self.report(phase=phase, code=code, reason=reason, message=said)
        if self.why != "deleted":
            # It stays as it ended until somebody deletes it.
            while self.told.get() not in ("deleted", "vanished"):
                pass
        self.gone()

    def _no_image(self) -> None:
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            message = f'Back-off pulling image "{self.container["image"]}"'
            self.report(phase="Pending", waiting={"reason": reason, "message": message})
        self.kubelet.event(self.pod, "Failed", "Error: ImagePullBackOff")
        while self.told.get() not in ("deleted", "vanished"):
            pass
        self.gone()

    def gone(self) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.meta["uid"]}}
        self.kubelet.api.ask("DELETE", self.path, json=options)

    # -- one container --------------------------------------------------------------------------

    def _run(self) -> int:
        self.started = now()
        words = [*self._bwrap(), "--", *self.container["command"], *self.container.get("args", ())]
        reading, writing = os.pipe()
        words[1:1] = ["--info-fd", str(writing)]
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                words,
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
            )
        os.close(writing)
        with os.fdopen(reading) as file:
            said = file.read()
        if said:
            self.pid = json.loads(said)["child-pid"]
        self.report(phase="Running")
        code = self._wait(child)
        self.pid = 0
        return code if code >= 0 else 128 - code

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for its end; whatever else is told meanwhile ends it."""
        threading.Thread(target=lambda: (child.wait(), self.told.put("exit")), daemon=True).start()
        deadline = self.spec.get("activeDeadlineSeconds")
        give_up = time.monotonic() + deadline if deadline else None
        kill_at: float | None = None
        while True:
            due = [at for at in (give_up if not self.why else None, kill_at) if at is not None]
            try:
                wait_s = max(0.0, min(due) - time.monotonic()) if due else None
                word = self.told.get(timeout=wait_s)
            except queue.Empty:
                word = "kill" if kill_at is not None else "deadline"
            if word == "exit":
                return child.returncode
            if word in ("deleted", "deadline") and not self.why:
                self.why = word
                self.signal(signal.SIGTERM)
                kill_at = time.monotonic() + self.grace_s
            elif word in ("vanished", "evicted", "oom", "kill"):
                self.why = self.why or word
                self.signal(signal.SIGKILL)
                kill_at = None

    def signal(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _bwrap(self) -> list[str]:
        # --die-with-parent holds for the thread that starts it: this one, which waits for its end.
        words = ["bwrap", "--die-with-parent", "--unshare-pid", "--as-pid-1", "--tmpfs", "/"]
        for path in sorted(Path("/").iterdir()):
            if path.is_symlink():
                words += ["--symlink", str(path.readlink()), str(path)]
            elif path.name not in ("proc", "run"):
                words += ["--dev-bind", str(path), str(path)]
        words += ["--proc", "/proc", "--tmpfs", "/run"]
        for hidden in self.kubelet.hidden_paths:
            words += ["--tmpfs", hidden]
        sources = {one["name"]: one for one in self.spec.get("volumes", ())}
        for mount in self.container.get("volumeMounts", ()):
            source = self._source(sources[mount["name"]])
            if mount.get("subPath"):
                source = source / mount["subPath"]
                source.mkdir(parents=True, exist_ok=True)
            words += ["--ro-bind" if mount.get("readOnly") else "--bind"]
            # /var/run is a link to /run, which bubblewrap would look for outside.
            words += [str(source), mount["mountPath"].replace("/var/run/", "/run/")]
        words += ["--chdir", self.container.get("workingDir", "/")]
        context = {
            **self.spec.get("securityContext", {}),
            **self.container.get("securityContext", {}),
        }
        user = context.get("runAsUser", os.getuid())
        if user != os.getuid():
            group = context.get("runAsGroup", user)
            words += ["--", "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return words

    def _source(self, volume: Json) -> Path:
        """Return the folder behind a volume."""
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        if "persistentVolumeClaim" in volume:
            return self.kubelet.claimed(
                self.meta["namespace"], volume["persistentVolumeClaim"]["claimName"]
            )
        place = self.folder / "volumes" / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        for part in volume.get("projected", {}).get("sources", [volume]):
            self._fill(place, part)
        return place

    def _fill(self, place: Path, source: Json) -> None:
        """Write what a secret or a config map holds."""
        space = f"/api/v1/namespaces/{self.meta['namespace']}"
        if "secret" in source:
            name = source["secret"].get("secretName") or source["secret"]["name"]
            data = self.kubelet.api.ask("GET", f"{space}/secrets/{name}").json().get("data", {})
            texts = {key: base64.b64decode(value) for key, value in data.items()}
        elif "configMap" in source:
            name = source["configMap"]["name"]
            data = self.kubelet.api.ask("GET", f"{space}/configmaps/{name}").json().get("data", {})
            texts = {key: value.encode() for key, value in data.items()}
        else:
            return
        for key, text in texts.items():
            (place / key).write_bytes(text)
            (place / key).chmod(0o644)

    def _env(self) -> dict[str, str]:
        host, _, port = self.kubelet.settings["server"].rpartition("//")[2].rpartition(":")
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME": self.meta["name"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }
        for kind, numbers in self.devices.items():
            if kind.startswith("nvidia.com/"):
                env["NVIDIA_VISIBLE_DEVICES"] = ",".join(map(str, numbers))
        for one in self.container.get("env", ()):
            env[one["name"]] = one.get("value") or self._reference(one.get("valueFrom", {}))
        return env

    def _reference(self, source: Json) -> str:
        if "secretKeyRef" in source:
            space = f"/api/v1/namespaces/{self.meta['namespace']}"
            wanted = source["secretKeyRef"]
            secret = self.kubelet.api.ask("GET", f"{space}/secrets/{wanted['name']}").json()
            return base64.b64decode(secret["data"][wanted["key"]]).decode()
        path = source.get("fieldRef", {}).get("fieldPath", "")
        known = {
            "status.podIP": "127.0.0.1",
            "spec.nodeName": self.spec["nodeName"],
            "metadata.name": self.meta["name"],
            "metadata.namespace": self.meta["namespace"],
        }
        return known.get(path, "")

    # -- what is told -----------------------------------------------------------------------------

    def report(
        self,
        *,
        phase: str,
        code: int | None = None,
        waiting: Json | None = None,
        reason: str = "",
        message: str = "",
    ) -> None:
        ready = "True" if phase == "Running" else "False"
        state: Json = {"running": {"startedAt": self.started}}
        if waiting is not None:
            state = {"waiting": waiting}
        elif code is not None:
            ended = {"oom": "OOMKilled"}.get(self.why, "Completed" if code == 0 else "Error")
            state = {
                "terminated": {
                    "exitCode": code,
                    "reason": ended,
                    "message": self._last_words() if code else "",
                    "startedAt": self.started,
                    "finishedAt": now(),
                }
            }
        status = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "startTime": self.started or now(),
            "reason": reason or None,
            "message": message or None,
            "conditions": [
                {"type": kind, "status": "True" if kind == "Initialized" else ready}
                for kind in ("Initialized", "Ready", "ContainersReady")
            ]
            + [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {
                    "name": self.container["name"],
                    "image": self.container["image"],
                    "imageID": "",
                    "ready": phase == "Running",
                    "restartCount": self.restarts,
                    "state": state,
                }
            ],
        }
        self.kubelet.api.ask(
            "PATCH", f"{self.path}/status", content=json.dumps({"status": status}), headers=MERGE
        )

    def _last_words(self) -> str:
        path = self.folder / "log"
        return (
            path.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace") if path.exists() else ""
        )

    @property
    def memory_limit(self) -> int:
        limits = self.container.get("resources", {}).get("limits", {})
        return quantity(limits.get("memory", "0"))


def quantity(text: str) -> int:
    """Return bytes of a quantity of memory."""
    for suffix, size in (("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30), ("k", 10**3), ("M", 10**6)):
        if text.endswith(suffix):
            return int(text.removesuffix(suffix)) * size
    return int(text)


class Kubelet:
    """The node."""

    def __init__(self, settings: Json) -> None:
        self.settings = settings
        self.name: str = settings["name"]
        self.folder = Path(settings["folder"])
        self.hidden_paths: list[str] = settings.get("hidden", [])
        self.api = Api(settings)
        self.pods: dict[str, Pod] = {}
        self.lock = threading.Lock()
        self.free = {
            kind: list(range(int(count)))
            for kind, count in settings["capacity"].items()
            if "/" in kind
        }

    def run(self) -> None:
        self.register()
        threading.Thread(target=self.renew, daemon=True).start()
        threading.Thread(target=self.weigh, daemon=True).start()
        while True:
            try:
                self.follow()
            except (httpx.HTTPError, json.JSONDecodeError):
                time.sleep(0.2)

    def register(self) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.settings.get("labels", {})},
            "spec": {"taints": self.settings.get("taints", [])},
        }
        self.api.ask("POST", "/api/v1/nodes", json=node)
        self.tell()

    def tell(self) -> None:
        capacity = self.settings["capacity"]
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "virtual kubelet is posting ready status",
                    "lastHeartbeatTime": now(),
                    "lastTransitionTime": now(),
                }
            ],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": os.uname().release,
                "osImage": "virtual kubelet",
                "containerRuntimeVersion": "bubblewrap://0",
                "kubeletVersion": "v1.20.2",
                "kubeProxyVersion": "v1.20.2",
                "operatingSystem": "linux",
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, ""),
            },
        }
        path = f"/api/v1/nodes/{self.name}/status"
        self.api.ask("PATCH", path, content=json.dumps({"status": status}), headers=MERGE)

    def renew(self) -> None:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        count = 0
        while True:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": stamp}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "namespace": "kube-node-lease"},
                "spec": spec,
            }
            answer = self.api.ask(
                "PATCH", f"{path}/{self.name}", content=json.dumps({"spec": spec}), headers=MERGE
            )
            if answer.status_code == 404:
                self.api.ask("POST", path, json=lease)
            count += 1
            if count % 5 == 0:
                self.tell()
            time.sleep(1)

    def follow(self) -> None:
        params = {"fieldSelector": f"spec.nodeName={self.name}"}
        listed = self.api.ask("GET", "/api/v1/pods", params=params).json()
        there = {one["metadata"]["uid"] for one in listed["items"]}
        for uid in set(self.pods) - there:
            self.pods[uid].told.put("vanished")
        for pod in listed["items"]:
            self.see(pod)
        since = {**params, "resourceVersion": listed["metadata"]["resourceVersion"]}
        for event in self.api.watch("/api/v1/pods", since):
            if event["type"] == "ERROR":
                return
            if event["type"] == "DELETED":
                known = self.pods.get(event["object"]["metadata"]["uid"])
                if known is not None:
                    known.told.put("vanished")
            else:
                self.see(event["object"])

    def see(self, pod: Json) -> None:
        meta = pod["metadata"]
        known = self.pods.get(meta["uid"])
        leaving = meta.get("deletionTimestamp")
        if known is None:
            over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            fresh = Pod(self, pod)
            if leaving or over or pod.get("status", {}).get("startTime"):
                # It ran under a kubelet before this one, which took it along when it died.
                if not over:
                    fresh.report(phase="Failed", code=137, reason="NodeLost")
                if leaving:
                    fresh.gone()
                return
            self.pods[meta["uid"]] = fresh
            fresh.thread.start()
        elif leaving:
            known.grace_s = float(meta.get("deletionGracePeriodSeconds", 30))
            known.told.put("deleted" if known.grace_s else "kill")
            if not known.grace_s:
                known.told.put("deleted")
        elif "evict" in meta.get("annotations", {}):
            known.told.put("evicted")

    def release(self, pod: Pod) -> None:
        with self.lock:
            for kind, numbers in pod.devices.items():
                self.free[kind] += numbers
            self.pods.pop(pod.meta["uid"], None)
        shutil.rmtree(pod.folder, ignore_errors=True)

    def allot(self, pod: Pod) -> dict[str, list[int]]:
        """Hand out devices, as a device plugin does."""
        wanted = pod.container.get("resources", {}).get("limits", {})
        found = {}
        with self.lock:
            for kind in self.free:
                count = int(wanted.get(kind, 0))
                if count:
                    self.free[kind].sort()
                    found[kind], self.free[kind] = self.free[kind][:count], self.free[kind][count:]
        return found

    def weigh(self) -> None:
        """Kill what uses more memory than it may."""
        while True:
            time.sleep(0.25)
            for pod in list(self.pods.values()):
                if pod.pid and pod.memory_limit and used(pod.pid) > pod.memory_limit:
                    pod.told.put("oom")

    def claimed(self, namespace: str, claim: str) -> Path:
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"
        bound = self.api.ask("GET", path).json()["spec"]["volumeName"]
        volume = self.api.ask("GET", f"/api/v1/persistentvolumes/{bound}").json()
        return Path(volume["spec"]["hostPath"]["path"])

    def event(self, pod: Json, reason: str, message: str) -> None:
        meta = pod["metadata"]
        space = f"/api/v1/namespaces/{meta['namespace']}/events"
        event = {
            "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
            "involvedObject": {
                "kind": "Pod",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "reason": reason,
            "message": message,
            "type": "Warning",
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "source": {"component": "kubelet", "host": self.name},
        }
        self.api.ask("POST", space, json=event)


def used(pid: int) -> int:
    """Return the memory of a process and all below it."""
    try:
        top = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [top, *top.children(recursive=True)])
    except psutil.Error:
        return 0


if __name__ == "__main__":
    # Whoever started it may ignore signals (a shell in the background does); containers never do.
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    Kubelet(json.loads(Path(sys.argv[1]).read_text())).run()
