package android.content;

import android.content.res.AssetManager;
import java.io.File;

public class Context {
  private final AssetManager assets;
  private final File files;

  public Context(File assets, boolean compressed, File files) {
    this.assets = new AssetManager(assets, compressed);
    this.files = files;
  }

  public Context getApplicationContext() {
    return this;
  }

  public AssetManager getAssets() {
    return assets;
  }

  public File getNoBackupFilesDir() {
    return files;
  }
}
