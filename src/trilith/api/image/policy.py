"""Glance's policy names with its default rules."""

from __future__ import annotations

from trilith.api.http.route import Policy

_ADMIN = "role:admin"
_MEMBER = "role:member and project_id:%(project_id)s"
_READER = "role:reader and project_id:%(project_id)s"
_SEEN = (
    "(project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s"
    " or 'public':%(visibility)s or 'shared':%(visibility)s)"
)
_ADMIN_OR_MEMBER = f"{_ADMIN} or ({_MEMBER})"
_ADMIN_OR_READER = f"{_ADMIN} or ({_READER})"
_MEMBERSHIP = f"{_ADMIN} or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s))"

POLICIES = (
    Policy("add_image", f"{_ADMIN} or ({_MEMBER} and project_id:%(owner)s)", "Create an image."),
    Policy("delete_image", _ADMIN_OR_MEMBER, "Delete an image."),
    Policy("get_image", f"{_ADMIN} or (role:reader and {_SEEN})", "Show an image."),
    Policy("get_images", _ADMIN_OR_READER, "List images."),
    Policy("modify_image", _ADMIN_OR_MEMBER, "Update an image."),
    Policy("publicize_image", _ADMIN, "Make an image public."),
    Policy("communitize_image", _ADMIN_OR_MEMBER, "Make an image a community image."),
    Policy("download_image", f"{_ADMIN} or (role:member and {_SEEN})", "Download an image's data."),
    Policy("upload_image", _ADMIN_OR_MEMBER, "Upload an image's data."),
    Policy("add_member", _ADMIN_OR_MEMBER, "Share an image with a project."),
    Policy("delete_member", _ADMIN_OR_MEMBER, "Take a project from an image's members."),
    Policy("get_member", _MEMBERSHIP, "Show a member of an image."),
    Policy("get_members", _MEMBERSHIP, "List the members of an image."),
    Policy("modify_member", f"{_ADMIN} or (role:member and project_id:%(member_id)s)", "Accept or reject an image."),
    Policy("copy_image", _ADMIN, "Copy an image's data to further stores."),
    Policy("get_image_location", _ADMIN_OR_READER, "See where an image's data lies."),
    Policy("set_image_location", _ADMIN_OR_MEMBER, "Set where an image's data lies."),
    Policy("delete_image_location", _ADMIN_OR_MEMBER, "Remove an image's data from one of its places."),
    Policy("add_image_location", _ADMIN_OR_MEMBER, "Add the first location of an image."),
    Policy("fetch_image_location", "role:service or role:admin", "Fetch the locations of an image (services)."),
    Policy("stores_info_detail", _ADMIN, "Show what kind of store each is, and where."),
    Policy("tasks_api_access", _ADMIN, "Use the tasks of the image service."),
    Policy("cache_image", _ADMIN, "Queue an image to be cached."),
    Policy("cache_list", _ADMIN, "List what is cached."),
    Policy("cache_delete", _ADMIN, "Remove from the cache."),
    Policy("deactivate", _ADMIN_OR_MEMBER, "Deactivate an image."),
    Policy("reactivate", _ADMIN_OR_MEMBER, "Reactivate an image."),
)
