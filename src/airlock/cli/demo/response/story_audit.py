"""`airlock demo audit`: a log that cannot be written, in its steps."""

from __future__ import annotations

from airlock.cli.demo.play import Story
from airlock.cli.demo.response import recording
from airlock.cli.demo.response.ending import Ending
from airlock.cli.demo.transcript import Line

ENDING = Ending(
    cause="A limit on the size of files was set for the processes of the gateway.",
    resolution="The limit was lifted; the workers went on recording by themselves.",
    answers=(
        "occurrence=A profile of the host limits the size of files.",
        "prevention=Nobody knew how large a journal becomes.",
        "detection_delay=The rules look every quarter of a minute.",
        "resolution_time=Calls were served again with the first record after the limit was lifted.",
        "monitoring=Outcomes that wait for the journal raised the alert; the log itself could not tell.",
        "contributing_factors=one profile for every service of the host",
        "went_well=nothing was served unrecorded, and the evidence was kept while the log took no row",
        "improve=a check of the limits before the gateway starts",
        "breach_answered=true",
    ),
    action="Give the gateway a profile of its own",
    summary="Nothing was done unrecorded; nothing is missing.",
)

STEPS = (
    ("A day like any other", recording.recorded, "What is answered is recorded, and nothing is missing."),
    (
        "The log cannot be written",
        recording.broken,
        "Nothing is served unrecorded; that the log takes no row is found without the log.",
    ),
    (
        "Somebody takes command",
        recording.declared,
        "An incident is led while nothing can be recorded; each of its lines waits for the log.",
    ),
    (
        "The playbook for missing audit events",
        recording.looked,
        "What is missing is said as it is; evidence is kept although the log takes no row.",
    ),
    ("Mended", recording.mended, "The workers record and serve again by themselves."),
    (
        "Accounted for",
        recording.accounted,
        "Calls that were under way have their outcome, which says that it is late; the timeline is whole.",
    ),
    (
        "Resolved",
        ENDING.resolved,
        "Nothing is resolved before it was verified, and it is watched.",
    ),
    ("Reviewed and closed", ENDING.reviewed, "Cause, answers, actions and sealed evidence end an incident."),
    ("What is left of it", ENDING.proven, "The evidence holds without the gateway, and people can read it."),
)
"""Title, step, and what it proves."""

AUDIT = Story(
    site=lambda keep: recording.RecordingSite(keep=keep),
    stage=recording.Recording,
    opening=(
        Line("customers", "an MCP server over HTTP"),
        Line("mail", "an MCP server over stdio"),
        Line("inbox", "a webhook of this demo, to which every notice is sent"),
        Line("people", "ada works here; olga commands, paul speaks to those outside"),
    ),
    steps=STEPS,
)
"""`airlock demo audit`."""
