"""Opens an archive or a destination by the protocol that its address names.

The protocols are imported on use: together they take longer to load than a command on a file.
"""

from service.pacs.address import Address, WebAddress
from service.pacs.archive import Archive
from service.pacs.destination import Destination
from service.settings import Settings


def open_archive(address: Address, settings: Settings) -> Archive:
    """Returns the archive at an address. Raises SettingInvalid for a file it cannot read."""
    if isinstance(address, WebAddress):
        from service.pacs.web.archive import open_web_archive
        from service.pacs.web.objects import MOST_BYTES

        most = max(MOST_BYTES, settings.max_image_bytes)
        return open_web_archive(address, settings, most_bytes=most)
    from service.pacs.node.archive import open_node_archive

    return open_node_archive(address, settings)


def open_destination(address: Address, settings: Settings) -> Destination:
    """Returns the destination at an address. Raises SettingInvalid for a file it cannot read."""
    if isinstance(address, WebAddress):
        from service.pacs.web.destination import open_web_destination

        return open_web_destination(address, settings)
    from service.pacs.node.destination import open_node_destination

    return open_node_destination(address, settings)
