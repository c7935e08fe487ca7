"""The terminal UI of a campaign."""

from __future__ import annotations

from pathlib import Path

from workbench.campaign.browse import BrowsedCampaign
from workbench.tui.app import ViewApp
from workbench.tui.screens.campaign import CampaignScreen


def campaign_app(folder: Path) -> ViewApp:
    """Return the screen of a campaign, not yet running.

    Raises:
        UsageError: The folder holds none.
    """
    return ViewApp(first=CampaignScreen(BrowsedCampaign.read(folder)))


def view_campaign(folder: Path) -> None:
    """Browse a campaign until the user leaves.

    Raises:
        UsageError: The folder holds none.
    """
    campaign_app(folder).run()
