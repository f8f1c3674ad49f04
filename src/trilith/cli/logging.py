"""Logs: one line an event, on stderr; JSON where nobody reads along."""

from __future__ import annotations

import logging
import sys

import structlog


def setup(*, to_stderr: bool = True) -> None:
    """Logs go to stderr always; `to_stderr` says that stdout is read by a program, so lines are JSON."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    machine = to_stderr or not sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if machine else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
