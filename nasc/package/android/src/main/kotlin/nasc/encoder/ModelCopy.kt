// SPDX-License-Identifier: Apache-2.0
// A model file outside of the app's archive, for archives that hold it compressed.

package nasc.encoder

import java.io.File
import java.io.IOException
import java.io.InputStream
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.security.MessageDigest

private const val CHUNK = 1 shl 16

/**
 * Maps a copy of the model, which is made when it is not there: complete under its name, or not at
 * all. Copies of other models in the folder are removed.
 *
 * @param folder of such copies alone
 * @param open gives the model's bytes
 * @throws IOException if they are not those of the package, or cannot be written
 */
internal fun mapCopy(folder: File, record: AssetRecord, open: () -> InputStream): ByteBuffer {
    val copy = File(folder, "${record.sha256}.onnx")
    if (copy.length() != record.sizeBytes) {
        if (!folder.isDirectory && !folder.mkdirs() && !folder.isDirectory) {
            throw IOException("cannot make the folder $folder")
        }
        folder.listFiles()?.filter { it.name.endsWith(".part") && it.lastModified() < stale() }
            ?.forEach { it.delete() }
        writeCopy(copy, record, open)
        folder.listFiles()?.filter { it.name.endsWith(".onnx") && it != copy }
            ?.forEach { it.delete() }
    }
    return RandomAccessFile(copy, "r").use {
        it.channel.map(FileChannel.MapMode.READ_ONLY, 0, record.sizeBytes)
    }
}

/** What was not written to for an hour was left by a process that ended while it copied. */
private fun stale() = System.currentTimeMillis() - 3_600_000

private fun writeCopy(copy: File, record: AssetRecord, open: () -> InputStream) {
    val part = File.createTempFile("model", ".part", copy.parentFile)
    try {
        val digest = MessageDigest.getInstance("SHA-256")
        RandomAccessFile(part, "rw").use { out ->
            open().use { input ->
                val bytes = ByteArray(CHUNK)
                while (true) {
                    val count = input.read(bytes)
                    if (count < 0) break
                    digest.update(bytes, 0, count)
                    out.write(bytes, 0, count)
                }
            }
            out.fd.sync()
        }
        val found = digest.digest().joinToString("") { "%02x".format(it) }
        if (found != record.sha256) {
            throw IOException("${record.name} is not the file of this package: build the app anew")
        }
        if (!part.renameTo(copy)) throw IOException("cannot write $copy")
    } finally {
        part.delete()
    }
}
