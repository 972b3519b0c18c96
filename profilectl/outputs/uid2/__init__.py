"""The e-mails and phones of an audience go to a UID2 operator, the raw UIDs come back as events.

Sources: domain.md 15.
"""
