"""Telling people: contacts, texts on their way, and what each kind of target is sent."""
