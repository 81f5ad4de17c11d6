"""How many containers for so many calls a day, and what they cost: `python -m benchmarks.scaling`.

What one container takes is read from a file that `benchmarks.capacity --out` wrote; prices are
list prices, which change: look them up and pass them. Prints the tables of docs/scaling.md.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path(__file__).with_name("capacity.json")
HOURS = 730
"""Of a month, as AWS counts them."""
DAY = 86_400


@dataclass(frozen=True)
class Plan:
    """Containers for a number of calls."""

    calls_a_day: float
    peak_per_second: float
    containers: int


def plan(
    calls_a_day: float, per_second: float, *, peak: float, utilisation: float, least: int
) -> Plan:
    """Containers that take the busiest second.

    `calls / 86,400 x peak` requests come in the busiest second; each container is given
    `utilisation` of the `per_second` that it can take.
    """
    busiest = calls_a_day / DAY * peak
    needed = math.ceil(busiest / (per_second * utilisation) - 1e-9)
    return Plan(calls_a_day, busiest, max(least, needed))


def units(calls_a_day: float, kilobytes: float) -> float:
    """A load balancer's capacity units (LCU): each 1 GB an hour, or 25 new connections a second."""
    a_second = calls_a_day / DAY
    return max(a_second * kilobytes * 3600 / 1e6, a_second / 25)


def a_million(monthly: float, calls_a_day: float) -> float:
    """Price of a million calls, from a month's price and the calls of a day."""
    return monthly / (calls_a_day * HOURS / 24) * 1e6


def least_for_a_million(monthly: float, per_second: float, utilisation: float) -> float:
    """The least that a million can cost: a container that is always as busy as it may be."""
    return monthly / (per_second * utilisation * HOURS * 3600) * 1e6


def rate(measured: Path, clients: int) -> tuple[float, str]:
    """Answers a second of the short requests with so many clients, and where it was measured.

    Raises:
        ValueError: the file holds no such measurement.
    """
    try:
        figures = json.loads(measured.read_text("utf-8"))
        for load in figures["loads"]:
            if load["clients"] == clients and load["requests"].startswith("3 s"):
                return float(load["per_second"]), str(figures["machine"])
    except (OSError, KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{measured}: not what benchmarks.capacity writes ({e!r})") from e
    raise ValueError(f"{measured}: no load of 3 s by {clients} clients")


def _number(least: float, most: float, *, open_below: bool = False) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None
        if not (least < number <= most if open_below else least <= number <= most):
            above = "more than" if open_below else "at least"
            raise argparse.ArgumentTypeError(
                f"{value} is not {above} {least:g} and at most {most:g}"
            )
        return number

    return parse


_positive = _number(0, 1e12, open_below=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--measured", type=Path, default=MEASURED, help="(benchmarks/capacity.json)"
    )
    parser.add_argument("--clients", type=int, default=8, help="of the load to count with (8)")
    parser.add_argument(
        "--per-second", type=_positive, help="what a container takes, instead of a file's figure"
    )
    parser.add_argument(
        "--calls", type=_positive, nargs="+", default=[1e4, 1e5, 1e6, 1e7, 1e8], help="a day"
    )
    parser.add_argument(
        "--peak", type=_number(1, 1e4), default=5.0, help="busiest second over the mean one (5)"
    )
    parser.add_argument(
        "--utilisation",
        type=_number(0, 1, open_below=True),
        default=0.6,
        help="of its capacity that a container is given (0.6)",
    )
    parser.add_argument(
        "--least",
        type=int,
        choices=range(1, 101),
        default=2,
        metavar="N",
        help="containers, for when one goes (2)",
    )
    prices = parser.add_argument_group("list prices in USD, of the day this was written")
    prices.add_argument("--vcpu-hour", type=_positive, default=0.04048, help="Fargate, us-east-1")
    prices.add_argument("--gb-hour", type=_positive, default=0.004445, help="Fargate, us-east-1")
    prices.add_argument("--vcpus", type=_positive, default=1.0, help="of a Fargate task (1)")
    prices.add_argument("--gb", type=_positive, default=2.0, help="of a Fargate task (2)")
    prices.add_argument("--alb-hour", type=_number(0, 1e3), default=0.0225, help="load balancer")
    prices.add_argument("--lcu-hour", type=_number(0, 1e3), default=0.008, help="what it takes on")
    prices.add_argument("--kilobytes", type=_positive, default=96.0, help="of a call (96)")
    prices.add_argument("--dyno-month", type=_positive, default=25.0, help="Heroku Standard-1X")
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.per_second is not None:
        per_second, where = given.per_second, "given, not measured"
    else:
        try:
            per_second, where = rate(given.measured, given.clients)
        except ValueError as e:
            parser.error(f"--measured {e}")
    task = HOURS * (given.vcpus * given.vcpu_hour + given.gb * given.gb_hour)
    print(f"a container answers {per_second:g} requests of 3 s a second ({where})")
    print(
        f"containers = max({given.least}, calls / 86,400 x {given.peak:g} / "
        f"({per_second:g} x {given.utilisation:g}))\n"
    )
    print(
        "| calls a day | busiest second | containers | Fargate, USD a month | USD a million "
        "| Heroku, USD a month | USD a million |"
    )
    print("|" + "---:|" * 7)
    for calls in given.calls:
        made = plan(
            calls,
            per_second,
            peak=given.peak,
            utilisation=given.utilisation,
            least=given.least,
        )
        balancer = given.alb_hour + given.lcu_hour * units(calls, given.kilobytes)
        fargate = made.containers * task + HOURS * balancer
        heroku = made.containers * given.dyno_month
        print(
            f"| {calls:,.0f} | {made.peak_per_second:,.1f} | {made.containers:,} "
            f"| {fargate:,.0f} | {a_million(fargate, calls):,.2f} "
            f"| {heroku:,.0f} | {a_million(heroku, calls):,.2f} |"
        )
    print(
        "\nthe least that a million can cost, containers never idle: "
        f"Fargate {least_for_a_million(task, per_second, given.utilisation):.2f} USD, "
        f"Heroku {least_for_a_million(given.dyno_month, per_second, given.utilisation):.2f} USD"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
