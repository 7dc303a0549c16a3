// Stands in for what webtorrent uses for WebRTC: a program that its package would fetch when it is installed. Peers here
// speak TCP.
export const RTCPeerConnection = undefined
export const RTCSessionDescription = undefined
export const RTCIceCandidate = undefined
