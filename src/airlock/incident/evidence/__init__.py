"""Evidence of an incident: a bag that anybody can check without this program."""
