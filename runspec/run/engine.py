"""The one loop: apply each Step of a plan, journal it, on failure undo in reverse."""

from __future__ import annotations

from time import monotonic

from runspec import abi
from runspec.errors import HostError, Mark, RunspecError, StepError
from runspec.plan import nft, rtnetlink
from runspec.plan.steps import base, hooks, namespaces
from runspec.plan.steps.base import ATTACH, HOOKS, LIVE, START, STOP, ChildStep, HostStep, Plan, Step, Table
from runspec.run import agent, blame, firewall
from runspec.run.store import Record, parse_record, record_text, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from runspec.kernel import Child, Kernel, Report
    from runspec.plan.steps.namespaces import SpawnInit
    from runspec.plan.steps.rehearsal import TryInit
    from runspec.run.firewall import Firewall
    from runspec.run.journal import Journal
    from runspec.run.leases import Leases
    from runspec.run.store import Alone, Store

# A child that answers nothing for this long hangs on the machine's side (a dead network mount, say).
PATIENCE = 60.0
# To end a link oneself costs 20 ms; where its namespace lives on, this is lost, once a run.
LINKS_END = 0.25
BARRIERS = {ATTACH: namespaces.BARRIER_ATTACH, HOOKS: namespaces.BARRIER_HOOKS, LIVE: namespaces.BARRIER_START,
            START: namespaces.BARRIER_START}        # phase -> where a child must stand for it


class Run:
    """What the Steps of one run find out and hand on: pids and descriptors do not exist while planning.

    Args:
        records: name -> Record to be written for it when its SaveRecord comes.
        live: name -> (pid, start time) of containers that run already.
        plan: the plan being run; None while undoing what a dead run left.
    """

    def __init__(self, kernel: Kernel, store: Store, plan: Plan | None,
                 records: dict[tuple[str, str], Record], live: dict[str, tuple[int, int]]) -> None:
        self.kernel, self.store, self.plan = kernel, store, plan
        self.records, self.live = records, live
        self.meanwhile: Callable[[], object] = tuple    # called before a child is waited for
        self._firewall: Firewall | None = None
        self.children: dict[str, Child] = {}
        self.tables: dict[str, Table] = {}
        self.kept: dict[str, dict[str, int]] = {}
        self.notes: list[str] = []
        self._links_end = 0.0               # when nobody waits for links any more, by the monotonic clock
        self.parked: set[str] = set()       # those whose init stays at its start gate
        self._said: dict[str, bytes] = {}   # name -> what its child reported last
        self._called = b""                  # what every child is called before its program
        self._groups: set[str] = set()
        self._unsettled: dict[str, None] = {}       # files of names to be written anew
        self._at: dict[str, int] = {}       # name -> barrier at which its child waits
        self._inside: dict[str, list[ChildStep]] = {}
        for step in plan.steps if plan is not None else ():
            if isinstance(step, ChildStep):
                self._inside.setdefault(step.target, []).append(step)

    # -- what Steps ask --

    def mark(self, name: str) -> str:
        """What the groups of a container bear, to be found by should all else be lost."""
        return self.store.mark(name)

    def known_group(self, directory: str) -> bool:
        """Whether a parent group was seen to exist in this run."""
        return directory in self._groups

    def note_group(self, directory: str) -> None:
        """Remember a parent group that exists now."""
        self._groups.add(directory)

    def forget_groups(self, directories: Iterable[str]) -> None:
        """These parents may be gone again."""
        self._groups.difference_update(directories)

    @property
    def firewall(self) -> Firewall:
        """The door to it, for the Steps that need one."""
        self._firewall = self._firewall or firewall.Firewall(self.kernel, self.store)
        return self._firewall

    def pid(self, name: str) -> int:
        """Init's pid as the host counts, 0 where none runs."""
        child = self.children.get(name)
        return child.pid if child is not None else self.live.get(name, (0, 0))[0]

    def spawn(self, step: SpawnInit | TryInit) -> dict[str, int]:
        """Clone a child with the table of its container's ChildSteps."""
        given: dict[str, int] = dict(self.kept.get(step.target, {}))
        opened: list[int] = []
        try:
            for kind, word in (("user", "user"), ("network", "net")):
                if word in given:
                    given[f"ns:{kind}"] = given.pop(word)
            for kind, container in step.joins:
                fd = self.kernel.open(f"/proc/{self._running(container)}/ns/{namespaces.KINDS[kind][1]}")
                opened.append(fd)
                given[f"ns:{kind}"] = fd
            table = Table(tuple(given))
            table.fill(step.inside(self._inside[step.target]))
            cgroup = -1
            if step.unified:
                cgroup = self.kernel.open_dir(step.unified)
                opened.append(cgroup)
            child = self.kernel.spawn(table.ops, tuple(given.values()), flags=step.flags, cgroup_fd=cgroup,
                                      wait=False)
        finally:
            for fd in opened:
                self.kernel.close(fd)
        self.children[step.target], self.tables[step.target] = child, table
        return {"pid": child.pid, "start_time": child.start_time}

    def try_init(self, step: TryInit) -> None:
        """See TryInit; what it holds is closed again."""
        try:
            for one in step.maps:
                self.make_user_namespace(one)
            self.keep(step)
            self.spawn(step)
            self.reach(step.target, namespaces.BARRIER_START)
        finally:
            child = self.children.pop(step.target, None)
            if child is not None:
                child.kill()
            self._at.pop(step.target, None)
            for fd in self.kept.pop(step.target, {}).values():
                self.kernel.close(fd)

    def _running(self, name: str) -> int:
        pid, child = self.pid(name), self.children.get(name)
        if child is not None and self.kernel.ends(child.pid, child.start_time):
            raise HostError(f"the program of {name} has ended already", "its namespaces ended with it",
                            f"give {name} a program that stays")
        if not pid:
            record = self.store.load("container", name)
            pid = record.pid if record is not None and status(self.kernel, record) == "running" else 0
        if not pid:
            raise HostError(f"container {name} does not run", "its namespaces end with its last process",
                            f"apply {name} first, or in the same command")
        return pid

    def reach(self, name: str, barrier: int) -> None:
        """Wait until a child stands at a barrier, or fail with what it answered."""
        while self._at.get(name) != barrier:
            self.meanwhile()
            report = self.children[name].receive(self.tables[name].patience(PATIENCE))
            if report is None:
                raise self._killed(name, "during set-up")
            if report.kind == abi.REPORT_ERROR:
                raise self._blame(name, report.index, report.error)
            if report.kind == abi.REPORT_LISTENER:
                self._introduce(name, report)
            self._said[name] = report.data
            if report.kind == abi.REPORT_FD:
                self.hold(name, "console", report.fd)
            if report.kind == abi.REPORT_BARRIER:
                self._at[name] = self.tables[name].ops[report.index].a

    def _killed(self, name: str, when: str) -> StepError:
        return blame.killed(self.kernel, name, when, self.records.get(("container", name)))

    def _blame(self, name: str, index: int, errno: int) -> StepError:
        return blame.answer(self.tables[name], index, errno, self._said.get(name, b""))

    def started(self) -> dict[str, tuple[int, int]]:
        """(pid, start time) of each init that this run brought to its program."""
        return {name: (child.pid, child.start_time) for name, child in self.children.items() if name not in self.parked}

    def release(self, name: str) -> None:
        """Let a waiting child go on."""
        self.children[name].go()

    def start(self, step: Step) -> None:
        """Open the start gate; whether the exec succeeded is asked later, so that many may start at once."""
        child = self.children[step.target]
        self._called = self._called or self.kernel.command(child.pid)
        child.go()
        self.live[step.target] = (child.pid, child.start_time)

    def make_gate(self, step: Step) -> None:
        """The start gate of a new container, for its init to inherit."""
        path = self.store.gate(step.target)
        if self.kernel.exists(path):
            self.kernel.remove_file(path)
        self.kept.setdefault(step.target, {})["gate"] = self.kernel.listen(path)

    def park(self, step: Step) -> None:
        """Init stands at its start gate and stays there."""
        child = self.children[step.target]
        self.parked.add(step.target)
        self.live[step.target] = (child.pid, child.start_time)

    def open_gate(self, step: Any) -> None:
        """Let the init that waits at a start gate execute its program."""
        path, said = self.store.gate(step.target), b""
        child = self.kernel.knock(path, *self.live[step.target])
        try:
            child.go()
            while (report := child.receive(None if step.hooks else PATIENCE)) is not None:
                if report.kind == abi.REPORT_ERROR:
                    op = abi.Op(int.from_bytes(report.data[:4], "little"), s1=report.data[16:],
                                a=int.from_bytes(report.data[8:16], "little"))
                    if op.number == abi.OP_HOOK:
                        at = hooks.started_by(self.records["container", step.target].spec, op.s1)
                        raise blame.step_error(step.replace(path=at), hooks.failure(op, report.error, said))
                    raise blame.step_error(step, blame.refused(op, report.error))
                if report.kind == abi.REPORT_LISTENER:
                    agent.introduce(self.kernel, child, report, self.records["container", step.target], "created")
                said = report.data
        finally:
            child.close()
        self.kernel.remove_file(path)

    def confirm(self, name: str) -> None:
        """End of file on the control socket is the exec's success."""
        child = self.children.get(name)
        if child is None or name in self.parked:
            return
        while (report := child.receive(self.tables[name].patience(PATIENCE))) is not None:
            if report.kind == abi.REPORT_ERROR:
                raise self._blame(name, report.index, report.error)
            if report.kind == abi.REPORT_LISTENER:
                self._introduce(name, report)
            self._said[name] = report.data
        if self.kernel.ends(child.pid, child.start_time) and self.kernel.command(child.pid) == self._called:
            raise self._killed(name, "before its program began")     # one that began has given its process its name
        child.close()

    def _introduce(self, name: str, report: Report) -> None:
        """The child has loaded a filter that asks an agent."""
        try:
            agent.introduce(self.kernel, self.children[name], report, self.records["container", name], "creating")
        except HostError as error:
            told = StepError(f"{name}: {error.what}", error.why, error.fix)
            told.path = "linux.seccomp.listenerPath"
            raise told from error

    def inside(self, step: Step, table: Table, held: tuple[str, ...] = ()) -> list[Report]:
        """Run a table whose slot "init" is the pidfd of the target's init, and the next ones what is held.

        Args:
            held: words under which this run holds descriptors of the target.
        """
        child = self.children.get(step.target)
        pid, start_time = (child.pid, child.start_time) if child is not None else self.live[step.target]
        pidfd = self.kernel.open_process(pid, start_time)
        if pidfd is None:
            raise HostError(f"init of {step.target} has ended", "its namespaces ended with it", "apply it again")
        try:
            return self.kernel.run_table(table.ops, (pidfd, *(self.kept[step.target][word] for word in held)))
        finally:
            self.kernel.close(pidfd)

    def within(self, name: str, word: str, table: Table) -> list[Report]:
        """Run a table whose one slot is what is held under this word."""
        return self.kernel.run_table(table.ops, (self.kept[name][word],))

    @property
    def leases(self) -> Leases:
        """What says how links of the host were that are with containers."""
        from runspec.run.leases import Leases

        return Leases(self.kernel, self.store)

    def link_inside(self, step: Step, which: int | str) -> dict[str, Any] | None:
        """What a link inside, by index or name, is and has, see netlink.link_facts.

        Its index there, which means nothing anywhere else, is `at`.
        """
        from runspec.kernel import netlink

        table = Table(("init",))
        namespaces.inside(table, ("network",))
        at = len(table.ops)
        table.add(abi.OP_DUMP, s1=rtnetlink.dump_links())
        table.add(abi.OP_DUMP, s1=rtnetlink.dump_addresses())
        found, held = [], []
        for report in self.inside(step, table):
            if report.index == at:
                found += netlink.parse_links(report.data)
            else:
                held += netlink.parse_addresses(report.data)
        facts = netlink.link_facts(found, held, which)
        return facts and facts | {"at": facts["index"], "index": 0, "master": ""}

    def hold(self, name: str, word: str, fd: int) -> None:
        """Keep a descriptor for later Steps of a target, or for their undo; it is closed at the end."""
        before = self.kept.setdefault(name, {}).get(word)
        if before is not None:
            self.kernel.close(before)
        self.kept[name][word] = fd

    def holds(self, name: str, word: str) -> bool:
        """Whether a descriptor is held under this word: not where a dead run's Step is undone."""
        return word in self.kept.get(name, {})

    def held(self, name: str, word: str) -> int:
        """The descriptor under this word."""
        return self.kept[name][word]

    def drop(self, name: str, word: str) -> None:
        """Close the descriptor under this word."""
        self.kernel.close(self.kept[name].pop(word))

    def alone(self) -> Alone:
        """See Store.alone."""
        return self.store.alone()

    def unsettle(self, file: str) -> None:
        """A file of names is to say what Records do, when all else is undone."""
        self._unsettled[file] = None

    def settle(self) -> None:
        """Write those files."""
        if self._unsettled:
            from runspec.run.names import settle
            settle(self.kernel, self.store, tuple(self._unsettled))
            self._unsettled.clear()

    def note(self, text: str) -> None:
        """Something that the user should hear when all is done."""
        self.notes.append(text)

    def make_user_namespace(self, step: Any) -> None:
        """A user namespace whose one process ends again; the descriptor keeps it for the child."""
        uids, gids = ("".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in maps)
                      for maps in (step.uids, step.gids))
        self.kept.setdefault(step.target, {})[step.word] = self.kernel.user_namespace(uids, gids)

    def keep(self, step: Any) -> None:
        """Open what the next init of this target takes over from the present one."""
        pid, _ = self.live[step.target]
        held = self.kept.setdefault(step.target, {})
        for word in ("user", "net"):
            if word in step.kept:
                held[word] = self.kernel.open(f"/proc/{pid}/ns/{word}")
        if "root" in step.kept:
            table = Table(("init",))
            namespaces.inside(table, ("mount",))
            table.add(abi.OP_OPEN_TREE, slot=table.slot("root"), s1="/",
                      a=abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC)
            table.add(abi.OP_SEND_FD, slot=table.slot("root"))
            held["root"] = self.inside(step, table)[0].fd

    def signal_init(self, name: str) -> None:
        """SIGKILL to the init that was observed; its end is awaited by who needs it."""
        if name in self.live:
            self.kernel.kill_process(*self.live[name])

    def let_die(self, link: str) -> bool:
        """Give a link of the host the time to go with its peer's namespace; all links of a run share the patience.

        Returns:
            Whether it has gone.
        """
        self._links_end = self._links_end or monotonic() + LINKS_END
        return self.kernel.await_link_end(link, self._links_end)

    def end_init(self, name: str) -> None:
        """Whatever its groups say, the init that was observed is gone after this."""
        pid, start_time = self.live.pop(name, (0, 0))
        pidfd = self.kernel.open_process(pid, start_time) if pid else None
        if pidfd is not None and not self.kernel.end_process(pidfd):
            raise HostError(f"init of {name}, process {pid}, does not end", *blame.STUCK)

    def warn(self, text: str) -> None:
        """Something went wrong that does not end the run."""
        self.notes.append(f"warning: {text}")

    def trouble(self, step: Step, what: str) -> None:
        """A Step could not end what it must."""
        raise blame.step_error(step, HostError(what, *blame.STUCK))

    def end_child(self, name: str, memo: Any) -> None:
        """Undo of a spawn: drop a child that waits, kill one that runs."""
        child = self.children.pop(name, None)
        self.live.pop(name, None)
        if child is not None:
            child.kill()
        elif memo:
            pidfd = self.kernel.open_process(memo["pid"], memo["start_time"])
            if pidfd is not None:
                self.kernel.end_process(pidfd)

    def record_before(self, step: Any) -> str | None:
        """The text of a target's present Record."""
        before = self.store.load(step.kind, step.target)
        return record_text(before) if before is not None else None

    def save_record(self, step: Any) -> None:
        """Write the Record of a target."""
        self.confirm(step.target)
        record = self.records[step.kind, step.target]
        pid, start_time = self.live.get(step.target, (0, 0))
        self.store.save(record.replace(pid=pid, start_time=start_time))

    def restore_record(self, step: Any, memo: str | None) -> None:
        """Undo of save_record."""
        if memo is None:
            self.store.remove(step.kind, step.target)
        else:
            self.store.save(parse_record(memo.encode()))

    def remove_record(self, step: Any) -> None:
        """Forget a target."""
        self.store.remove(step.kind, step.target)

    def forget_forgotten(self, step: Any) -> None:
        """Take from the firewall what it has of a target that has no Record any more."""
        if self.store.text(step.kind, step.target) is None:
            self.firewall.forget(nft.named(step.kind, step.target))

    def finish(self) -> None:
        """Close what is still open."""
        for child in self.children.values():
            child.close()
        for fd in [fd for kept in self.kept.values() for fd in kept.values()]:
            self.kernel.close(fd)
        self.kept = {}


def perform(run: Run, plan: Plan, journal: Journal, places: Callable[[str], dict[str, Mark]]) -> None:
    """Run a plan to its end, or take back what it did.

    Args:
        places: target -> spec path -> place in the user's file, asked when an error is to be placed.

    Raises:
        StepError: with the Step, its position, its cause, and what failed while undoing.
    """
    done: list[tuple[HostStep, Any]] = []
    steps = [step for step in plan.steps if isinstance(step, HostStep)]
    phase_of: dict[str, int] = {}
    announced = 0
    doing: Step | None = None
    try:
        for index, step in enumerate(steps):
            name, doing = step.target, step
            if name in run.children and phase_of.get(name) != step.phase:
                _settle(run, name, step)
            phase_of[name] = step.phase
            before = None
            if index >= announced:
                before, announced = step.look(run.kernel, run), base.announced_with(steps, index)
                journal.intent(index, steps[index:announced], before)
            done.append((step, before))
            memo = step.apply(run.kernel, run)
            if memo is not None:
                done[-1] = (step, memo)
            journal.done(index, memo)
    except BaseException as error:
        failed = undo(run, done)
        if failed:
            journal.release()   # what is left stays written down, to be undone by the next run
        else:
            journal.close()
        if isinstance(error, KeyboardInterrupt):
            error.args = (f"not all could be undone, the next run tries again: {'; '.join(failed)}" if failed else
                          "undone, but for what had ended; run it again" if any(one.phase == STOP for one, _ in done)
                          else "undone",)
        if isinstance(error, RunspecError):
            raise blame.placed(error, doing, [*failed, *run.notes], blame.ended(done), places) from error
        raise
    finally:
        run.finish()


def _settle(run: Run, name: str, step: HostStep) -> None:
    """Bring a child to the barrier that the next Step of its target needs it at."""
    if step.phase in BARRIERS:
        run.reach(name, BARRIERS[step.phase])


def undo(run: Run, done: list[tuple[HostStep, Any]]) -> list[str]:
    """Take Steps back, last first, but what wants to be last at the end; returns what could not be."""
    failed = []
    for step, memo in sorted([*reversed(done)], key=lambda one: one[0].UNDO_LAST):
        try:
            step.undo(run.kernel, run, memo)
        except Exception as error:      # the rest must be taken back whatever went wrong with this one
            failed.append(f"{step}: {error}")
    try:
        run.settle()
    except Exception as error:
        failed.append(f"write names: {error}")
    return failed
