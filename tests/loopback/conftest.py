from __future__ import annotations

from phone_fixtures import adb, phone, phone_is_possible, small_model

__all__ = ["adb", "phone", "phone_is_possible", "small_model"]
