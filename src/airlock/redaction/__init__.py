"""What may not travel: secrets and personal data found in text and replaced, addresses held to an allow list.

Pure: values in, values out. The gateway decides where it applies.
"""
