"""`airlock demo latency`: a server that becomes slow, in its steps."""

from __future__ import annotations

from airlock.cli.demo.play import Story
from airlock.cli.demo.response import latency
from airlock.cli.demo.response.ending import Ending
from airlock.cli.demo.response.room import Room
from airlock.cli.demo.transcript import Line

ENDING = Ending(
    cause="A query of the register had lost its index.",
    resolution="The index is there again; two people put the server back.",
    answers=(
        "occurrence=A change of the register dropped an index.",
        "prevention=Nobody tried the change with as many customers as there are.",
        "detection_delay=The rules look every quarter of a minute.",
        "resolution_time=The server was out of the way at once; the index took its time.",
        "monitoring=The share of slow calls raised the alert, and named the server.",
        "contributing_factors=no limit on how long a query may take",
        "went_well=nobody had to guess which server it was; the others stayed as quick as they were",
        "improve=a timeout of the server below what callers put up with",
        "breach_answered=true",
    ),
    action="Try changes of the register with all customers",
    summary="One server was slow; the others were not.",
)

STEPS = (
    ("A day like any other", latency.quick, "Calls are quick, and quick calls are no alert."),
    (
        "A server becomes slow",
        latency.slowed,
        "Slowness is found while every call is still served, and the server that is slow is named.",
    ),
    ("Somebody takes command", latency.declared, "A person declares what the rule found; people are told."),
    (
        "The playbook for high latency",
        latency.looked,
        "Evidence comes first; the slow stage and the slow server are told by clocks and log.",
    ),
    (
        "The slow server is taken out",
        latency.isolated,
        "Nobody waits for a server that is out of service, and the others are as quick as before.",
    ),
    (
        "Mended and put back",
        latency.restored,
        "What an open incident took out comes back by two people, and is quick again.",
    ),
    (
        "Resolved",
        ENDING.resolved,
        "Nothing is resolved before it was verified, everything contained is owned, and it is watched.",
    ),
    ("Reviewed and closed", ENDING.reviewed, "Cause, answers, actions and sealed evidence end an incident."),
    ("What is left of it", ENDING.proven, "The evidence holds without the gateway, and people can read it."),
)
"""Title, step, and what it proves."""

LATENCY = Story(
    site=lambda keep: latency.LatencySite(keep=keep),
    stage=Room,
    opening=(
        Line("customers", "an MCP server over HTTP: a register that becomes slow"),
        Line("mail", "an MCP server over stdio"),
        Line("inbox", "a webhook of this demo, to which every notice is sent"),
        Line("people", "ada works here; olga commands, paul speaks to those outside"),
    ),
    steps=STEPS,
)
"""`airlock demo latency`."""
