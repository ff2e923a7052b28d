"""The status page: a view rendered to HTML on the server; nothing in it is trusted to be harmless.

Incidents, alerts, nodes and jobs carry text from outside. Every value is escaped by the template
engine, no script or style stands in the page itself, and the server's content policy forbids both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from agent import words
from agent.api import find_incident, find_plan, plans_of
from agent.energy.words import bill_text, saving_text
from agent.fleet import by_whom, fleet_of
from agent.path_svg import hop_svg
from agent.svg import forecast_svg
from agent.times import rfc3339
from agent.view import Controls, DemandView, ForecastView, View
from core.clock import Clock
from core.errors import InputError
from core.target import Target
from core.types import Forecast, Incident, IncidentState, JournalEntry, PlanRecord, PlanState
from rca.explain import explain, say_moved, say_plain
from rca.hops import HopSeries
from rca.verdict import blamed
from rca.words import metric_words, say_clock, say_kind, say_short, say_target
from remediation.deciding import decided

if TYPE_CHECKING:
    from jinja2 import Environment

REFRESH_S = 10
MAX_OPEN = 30
MAX_RECENT = 12
MAX_PLOTS = 12
MAX_JOBS = 200
MAX_TIMELINE = 6

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Page:
    """The routes that answer with HTML."""

    controls: Controls
    clock: Clock

    def routes(self) -> list[Route]:
        """Return the page's routes, its style sheet's and its script's."""
        return [
            Route("/", self.overview, methods=["GET"]),
            Route("/incidents/{id:path}", self.incident, methods=["GET"]),
            Route("/plans/{id:path}", self.plan, methods=["GET"]),
            Route("/static/{name}", _static, methods=["GET"]),
            Route("/favicon.ico", _icon, methods=["GET"]),
        ]

    async def overview(self, request: Request) -> Response:
        """Show everything at a glance."""
        view = self.controls.view()
        incidents = sorted(view.incidents, key=_urgency)
        open_ones = [each for each in incidents if each.state is IncidentState.OPEN]
        recent = [each for each in incidents if each.state is IncidentState.RESOLVED]
        plots = sorted(view.forecasts, key=_imminence)
        plans = sorted(view.plans, key=lambda each: -each.plan.made_at_s)
        return self._render(
            "index.html",
            view,
            fleet=fleet_of(view),
            incidents=[_with_plans(view, each) for each in open_ones[:MAX_OPEN]],
            incidents_left=max(0, len(open_ones) - MAX_OPEN),
            recent=recent[:MAX_RECENT],
            plots=plots[:MAX_PLOTS],
            plots_left=max(0, len(plots) - MAX_PLOTS),
            waiting=[each for each in plans if each.state is PlanState.PROPOSED],
            plans=[each for each in plans if each.state is not PlanState.PROPOSED][:MAX_RECENT],
            jobs=view.state.jobs[:MAX_JOBS] if view.state else (),
            job_incidents=_job_incidents(open_ones),
        )

    async def incident(self, request: Request) -> Response:
        """Show one incident with all that is known of it."""
        view = self.controls.view()
        incident = find_incident(view, request.path_params["id"])
        timeline = await self.controls.timeline(incident.id)
        diagnosis = view.diagnoses.get(incident.id)
        said = diagnosis and explain(incident, diagnosis, view.state, experience=view.experience)
        targets = set(incident.targets)
        return self._render(
            "incident.html",
            view,
            incident=incident,
            diagnosis=diagnosis,
            said=said,
            blamed=blamed(diagnosis) if diagnosis else (),
            path=await self._path(incident.id),
            plans=plans_of(view, incident.id),
            timeline=timeline,
            plots=[each for each in view.forecasts if each.target in targets][:MAX_PLOTS],
        )

    async def _path(self, incident_id: str) -> tuple[HopSeries, ...]:
        """Return the readings along the path; none where no path is known."""
        try:
            return await self.controls.path(incident_id)
        except InputError:
            return ()

    async def plan(self, request: Request) -> Response:
        """Show one plan."""
        view = self.controls.view()
        record = find_plan(view, request.path_params["id"])
        incident = next((i for i in view.incidents if i.id == record.plan.incident_id), None)
        return self._render("plan.html", view, record=record, incident=incident)

    def _render(self, template: str, view: View, **values: Any) -> Response:
        now_s = self.clock.now_s()
        html = (
            _templates()
            .get_template(template)
            .render(
                view=view,
                now_s=now_s,
                refresh_s=REFRESH_S,
                sources=_sources(view),
                ago=lambda time_s: words.ago(time_s, now_s),
                at=lambda time_s: words.clock_time(time_s, now_s=now_s),
                until=lambda time_s: words.duration(time_s - now_s),
                **values,
            )
        )
        return HTMLResponse(html)

    @staticmethod
    def error(status: int, text: str) -> Response:
        """Return a page that says what went wrong."""
        html = _templates().get_template("error.html").render(status=status, text=text)
        return HTMLResponse(html, status_code=status)


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident with what the overview tells of it."""

    incident: Incident
    plans: tuple[PlanRecord, ...]
    timeline: tuple[JournalEntry, ...]
    timeline_left: int


@cache
def _templates() -> "Environment":
    """Return the templates, read once; a name that a template does not get is an error."""
    # Here, not above: the node service imports the server and is installed without jinja2.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("agent", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=words.percent,
        quantity=words.quantity,
        number=words.number,
        duration=words.duration,
        energy=bill_text,
        saving=saving_text,
        gpu_time=words.gpu_time,
        metric=metric_words,
        action=str,
        iso=rfc3339,
        short=lambda target: say_short(say_target(target)),
        kind=say_kind,
        moved=say_moved,
        clock=say_clock,
        plain=say_plain,
        entry=decided.in_words,
    )
    environment.globals.update(
        by_whom=by_whom, plot=_plot, demand_plot=_demand_plot, spark=_spark, isnan=math.isnan
    )
    return environment


def _plot(view: ForecastView) -> object:
    """Return the drawing as markup: ``forecast_svg`` escapes every text in it by itself."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2

    return Markup(forecast_svg(view))  # noqa: S704 - see above, and tests/test_page.py


def _spark(hop: HopSeries) -> object:
    """Return the drawing as markup: ``hop_svg`` writes numbers and its own words only."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2

    return Markup(hop_svg(hop))  # noqa: S704 - see above, and tests/test_page.py


def _demand_plot(demand: DemandView) -> object:
    """Draw GPUs wanted as any forecast is: the band is between the lowest and highest level."""
    time_s = demand.made_at_s + np.array([0.0, *demand.lead_s])
    ahead = np.vstack([np.full(len(demand.level), demand.wanted), demand.gpus])
    forecast = Forecast(
        metric="gpus_wanted",
        targets=(Target(),),
        made_at_s=demand.made_at_s,
        time_s=time_s,
        mean=ahead[None, :, 0],
        lower=ahead[None, :, 0],
        upper=ahead[None, :, -1],
        coverage=demand.level[-1] - demand.level[0],
        model=("demand",),
        skill=np.full(1, np.nan),
    )
    return _plot(
        ForecastView(
            target=Target(),
            metric="gpus_wanted",
            unit="",
            history_time_s=demand.history_time_s,
            history_value=demand.history_gpus,
            forecast=forecast,
            limit=float(demand.have),
            expected_s=None,
            probability=math.nan,
        )
    )


def _with_plans(view: View, incident: Incident) -> OpenIncident:
    timeline = view.timelines.get(incident.id, ())
    return OpenIncident(
        incident=incident,
        plans=plans_of(view, incident.id),
        timeline=tuple(timeline[-MAX_TIMELINE:]),
        timeline_left=max(0, len(timeline) - MAX_TIMELINE),
    )


def _urgency(incident: Incident) -> tuple[int, float]:
    return -incident.severity.rank, -incident.opened_s


def _imminence(view: ForecastView) -> tuple[float, float]:
    expected_s = math.inf if view.expected_s is None else view.expected_s
    return expected_s, -view.probability if math.isfinite(view.probability) else 0.0


def _sources(view: View) -> Sequence[tuple[str, bool, str]]:
    """Return each source's name, whether it is up, and its lag in words."""
    return [
        (name, not math.isnan(lag_s), "down" if math.isnan(lag_s) else words.duration(lag_s))
        for name, lag_s in sorted(view.sources.items())
    ]


def _job_incidents(incidents: Sequence[Incident]) -> Mapping[str, list[Incident]]:
    found: dict[str, list[Incident]] = {}
    for incident in incidents:
        for job in incident.jobs:
            found.setdefault(job, []).append(incident)
    return found


async def _static(request: Request) -> Response:
    return _file(request.path_params["name"])


async def _icon(request: Request) -> Response:
    return _file("icon.svg")


def _file(name: str) -> Response:
    """Return one of the page's own files; the table is closed, so no path leads elsewhere."""
    if name not in _STATIC:
        return Page.error(404, "There is nothing at this address.")
    content = files("agent").joinpath("web", name).read_bytes()
    return Response(content, headers={"content-type": _STATIC[name], "cache-control": "no-cache"})
