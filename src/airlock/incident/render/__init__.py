"""Documents of an incident, rendered from its record and from nothing else.

A notice is a subject and a body, for people; a file is Markdown, written again after each event. Neither is
ever read back: the record is the source. A fact that the record lacks reads `not yet known`.
"""
