-- Sends every radiograph that arrives to the listener. Its drafts are SR, and go nowhere.
function OnStoredInstance(instanceId, tags, metadata, origin)
  local modality = tags['Modality']
  if modality == 'CR' or modality == 'DX' then
    SendToModality(instanceId, 'eclip')
  end
end
