// SPDX-License-Identifier: Apache-2.0
// The model out of an app's archive, for onnxruntime.

package nasc.encoder

import android.content.Context
import java.io.File
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/**
 * The model is mapped out of the app's archive where that holds it as it is, and else out of a copy,
 * which is made once.
 *
 * @throws IOException if the file is not that of this package
 */
internal fun networkOf(context: Context, threads: Int): Network =
    OnnxNetwork(mapModel(context), CONTENTS.output, threads)

private fun mapModel(context: Context): ByteBuffer {
    val name = "$ASSETS/${CONTENTS.model.name}"
    return try {
        context.assets.openFd(name).use {
            if (it.length != CONTENTS.model.sizeBytes) {
                throw IOException("$name is not the file of this package: build the app anew")
            }
            FileInputStream(it.fileDescriptor).channel
                .map(FileChannel.MapMode.READ_ONLY, it.startOffset, it.length)
        }
    } catch (_: FileNotFoundException) { // the archive holds it compressed
        val folder = File(context.applicationContext.noBackupFilesDir, "nasc-encoder")
        mapCopy(folder, CONTENTS.model) { context.assets.open(name) }
    }
}
