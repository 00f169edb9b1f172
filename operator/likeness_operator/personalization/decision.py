"""What the rules for a Personalization decide, be it live or being deleted: both write the same status."""

from __future__ import annotations

from likeness_api.personalization import PersonalizationStatus
from likeness_operator.engine.decision import Decision

PersonalizationDecision = Decision[PersonalizationStatus]
