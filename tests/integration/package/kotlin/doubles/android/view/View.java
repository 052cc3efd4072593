package android.view;

import android.content.Context;

public class View {
  public View(Context context) {}

  public boolean isEnabled() {
    return true;
  }

  public void setEnabled(boolean enabled) {}

  public boolean getFitsSystemWindows() {
    return true;
  }

  public void setFitsSystemWindows(boolean fits) {}
}
