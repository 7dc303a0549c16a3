// One webtorrent client as a process: `node client.mjs TORRENT FOLDER PORT`. It checks what is in the folder, gets what is
// missing, and seeds until it is ended. It finds peers by the tracker alone.
import WebTorrent from 'webtorrent'

const [torrentFile, path, port] = process.argv.slice(2)
const client = new WebTorrent({
  dht: false, lsd: false, natPmp: false, natUpnp: false, secure: false, utPex: false, utp: false, webSeeds: false,
  torrentPort: Number(port)
})
client.on('error', error => { throw error })
client.add(torrentFile, { path }, torrent => {
  console.log(`ready: ${torrent.progress}`)
  torrent.on('wire', (wire, address) => console.log(`wire ${wire.type} ${address}`))
  torrent.on('warning', warning => console.log(`warning: ${warning.message ?? warning}`))
  torrent.on('done', () => console.log('complete'))
})
