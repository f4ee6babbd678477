"""The attack in its steps."""

from __future__ import annotations

from airlock.cli.demo.play import Story
from airlock.cli.demo.response import answered, found
from airlock.cli.demo.response.ending import RECORDS, Ending
from airlock.cli.demo.response.room import Room
from airlock.cli.demo.response.site import ResponseSite
from airlock.cli.demo.transcript import Line

ENDING = Ending(
    cause="Two tokens were stolen from laptops.",
    resolution="Both tokens and their addresses are shut out.",
    answers=(
        "occurrence=Tokens lay in files that other programs could read.",
        "prevention=Nothing bound a token to the machine of its owner.",
        "detection_delay=There was none for the guesses; the thief looked like a clerk until he sent mail.",
        "resolution_time=Minutes: the playbook blocked, a person suspended.",
        "monitoring=Reading followed by sending raised the alert.",
        "contributing_factors=long-lived tokens; no second factor for exports",
        "went_well=guesses were blocked before anybody woke up; the snapshot came before the block",
        "improve=sending after a sensitive read should have waited for a person",
        "breach_answered=true",
    ),
    action="Bind tokens to machines",
    summary="Contained; nobody else was hit.",
    records=(*RECORDS, "breach-report"),
)

STEPS = (
    ("A day like any other", found.quiet, "Work as usual raises no alert."),
    (
        "Credential stuffing",
        found.stuffed,
        "Guessing is found, declared and blocked on every worker without a person, and hits nobody else.",
    ),
    (
        "Somebody takes command",
        found.commanded,
        "A declared incident tells its people at once, with texts that the record completes.",
    ),
    (
        "Tool enumeration with a stolen token",
        found.enumerated,
        "Who asks around is slowed down alone; its alerts join the incident.",
    ),
    (
        "Exfiltration over open streams",
        found.taken,
        "Reading and sending is found; a suspected breach raises the severity by itself.",
    ),
    (
        "The playbook for a breach",
        answered.contained,
        "One command keeps the evidence, blocks, and cuts the open streams at once on every worker.",
    ),
    (
        "The thief comes back",
        answered.followed,
        "What a suspension would hit is known before; what was approved is what happens.",
    ),
    (
        "Those inside and outside are told",
        answered.informed,
        "Notices come from the record; what leaves the house was approved word by word.",
    ),
    (
        "Resolved",
        ENDING.resolved,
        "Nothing is resolved before it was verified, everything contained is owned, and it is watched.",
    ),
    (
        "Reviewed and closed",
        ENDING.reviewed,
        "Cause, answers, actions and sealed evidence end an incident.",
    ),
    (
        "What is left of it",
        ENDING.proven,
        "The evidence holds without the gateway, one changed byte is found, and people can read the files.",
    ),
)
"""Title, step, and what it proves."""

INCIDENT = Story(
    site=lambda keep: ResponseSite(keep=keep),
    stage=Room,
    opening=(
        Line("customers", "an MCP server over HTTP, with a register that somebody wants"),
        Line("mail", "an MCP server over stdio"),
        Line("inbox", "a webhook of this demo, to which every notice is sent"),
        Line("people", "olga commands, paul speaks to those outside; ada, eve and vera work here"),
    ),
    steps=STEPS,
)
"""`airlock demo incident`."""
