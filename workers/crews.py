"""Members of an ensemble, each trained by a process of its own, or by several that torchrun starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from predictors.errors import TrainingFailed

if TYPE_CHECKING:
    from predictors.train_plan import MemberPlan

TRAIN = "predictors.train_plan"
Child = subprocess.Popen[bytes]


def train_members(
    plans: Sequence[MemberPlan], jobs: int, processes: int, report: Callable[[str, int, int], None]
) -> None:
    """Train `jobs` members at a time, each by `processes` that share its batches. What was begun goes on.

    Beside the folder of each member stand its plan (.json) and what its processes said (.log). Raises TrainingFailed,
    when those that train already have ended. Whatever else ends this function or this process ends them at once.
    """
    total = sum(plan.config.epochs for plan in plans)
    children: list[Child] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_train, plan, processes, number % jobs, children) for number, plan in enumerate(plans)]
        try:
            while _running(futures):
                report("training", sum(_epochs(plan.folder) for plan in plans), total)
        except BaseException:
            _end(futures, children)
            raise
    for future in futures:
        if not future.cancelled():
            future.result()
    report("training", total, total)


def _running(futures: Sequence[Future[None]]) -> bool:
    """Wait a second; after a failure no other member begins."""
    done, running = wait(futures, timeout=1.0)
    if any(not future.cancelled() and future.exception() for future in done):
        for future in running:
            future.cancel()
    return any(not future.done() for future in futures)


def _end(futures: Sequence[Future[None]], children: Sequence[Child]) -> None:
    """No other member begins, and those that train end, also one that begins just now."""
    for future in futures:
        future.cancel()
    while not all(future.done() for future in futures):
        for child in tuple(children):
            child.terminate()
        wait(futures, timeout=0.2)


def _train(plan: MemberPlan, processes: int, device: int, children: list[Child]) -> None:
    """device: the GPU of a process alone, where there are some; torchrun gives each of its processes one."""
    file, log = plan.folder.with_suffix(".json"), plan.folder.with_suffix(".log")
    plan.write(file)
    crew = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    with log.open("wb") as said:
        command = [sys.executable, *crew, "-m", TRAIN, "--attended", str(file)]
        here = {**os.environ, "LOCAL_RANK": str(device)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, env=here) as child:
            children.append(child)
            code = child.wait()  # the pipe stays open, by which it knows that we live
    if code:
        raise TrainingFailed(f"member {plan.seed}: {_reason(log, code)}")


def _reason(log: Path, code: int) -> str:
    told = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("lode: ")]
    if told:
        return told[-1].removeprefix("lode: ")
    return f"its process ended with code {code}: see {log}; the same command goes on from its last epoch"


def _epochs(folder: Path) -> int:
    file = folder / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0
